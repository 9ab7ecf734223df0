"""PPO, SAC, TD3, DDPG from Stable-Baselines3, by documented defaults but for the actor's hidden widths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn

from lightning_pz.common.errors import UserError
from lightning_pz.envs.guarded import FiniteOnly
from lightning_pz.envs.specs import make_env
from lightning_pz.envs.tasks import TaskWrapper
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.generation import Generation
from lightning_pz.search.objective import EVALUATION_SEEDS, Problem
from lightning_pz.search.settings import BaselineSettings, check_algorithm_package

_CRITICS = {"ppo": ("vf", [64, 64]), "sac": ("qf", [256, 256]), "td3": ("qf", [400, 300]), "ddpg": ("qf", [400, 300])}
"""Name and documented widths of each algorithm's critic."""
_PPO_ROLLOUT = 2048  # Documented steps between two updates of PPO; it learns from nothing shorter


class BaselineState(NamedTuple):
    """A learner, which changes in place."""

    model: Any


class BaselineSearch:
    """A learner of Stable-Baselines3 behind `lightning_pz.search.generation.Search`.

    It cannot be saved in the middle of an episode, so an interrupted run begins again, to the same curve. Its first
    episode has the seed of the learner, which must not be an evaluation's; the whole budget bounds the replay buffer.
    """

    resumable: ClassVar[bool] = False
    state_types: ClassVar[tuple[type, ...]] = ()

    def __init__(self, algorithm: str, settings: BaselineSettings, problem: Problem, *, seed: int, budget: int) -> None:
        check_algorithm_package(algorithm)
        if seed >= EVALUATION_SEEDS:
            raise UserError(
                f"--seed expects at most {EVALUATION_SEEDS - 1} with --algorithm {algorithm}, whose first episode has that "
                f"seed, because evaluation and test episodes use the seeds above, but got {seed}"
            )
        self.algorithm, self.settings, self.problem = algorithm, settings, problem
        self.seed, self.budget = seed, budget

    def begin(self) -> BaselineState:
        import stable_baselines3
        from stable_baselines3.common.logger import Logger
        from stable_baselines3.common.monitor import Monitor

        p = self.problem
        env = make_env(p.spec.id, max_episode_steps=p.spec.horizon)
        tasked = FiniteOnly(
            TaskWrapper(env, p.reward),
            f"--algorithm {self.algorithm} learns from finite numbers, but {p.spec.id}, task {p.task!r},",
            "find what overflows, or use a search that ranks such policies last (--algorithm pgpe)",
        )
        kind = getattr(stable_baselines3, self.algorithm.upper())
        critic, widths = _CRITICS[self.algorithm]
        policy_kwargs = {"net_arch": {"pi": list(p.network.layout.hidden), critic: widths}}
        # A buffer that never fills behaves alike at any size.
        more = {"n_steps": _PPO_ROLLOUT} if self.algorithm == "ppo" else {"buffer_size": min(1_000_000, self.budget)}
        model = kind("MlpPolicy", Monitor(tasked), policy_kwargs=policy_kwargs, seed=self.seed, device="cpu", **more)
        # Its own logger would leave a folder in the system's temporary one.
        model.set_logger(Logger(folder=None, output_formats=[]))
        return BaselineState(model)

    @property
    def least_budget(self) -> int:
        return _PPO_ROLLOUT if self.algorithm == "ppo" else self.settings.chunk

    def cost(self, state: BaselineState) -> int:
        return self.least_budget

    def step(self, state: BaselineState) -> tuple[BaselineState, Generation]:
        """Learn for one chunk, of finite numbers; the returns are those of the last 100 episodes."""
        model, before = state.model, state.model.num_timesteps
        try:
            model.learn(self.cost(state), log_interval=None, reset_num_timesteps=before == 0)
        except ValueError as error:  # PyTorch refuses a normal distribution whose mean is NaN
            raise UserError(
                f"--algorithm {self.algorithm} cannot continue after {model.num_timesteps} steps on {self.problem.spec.id}, task "
                f"{self.problem.task!r}, most likely because observations or rewards are too large for its networks: "
                + str(error).splitlines()[0]
            ) from error
        returns = [episode["r"] for episode in model.ep_info_buffer]
        return state, Generation(model.num_timesteps - before, np.array(returns, dtype=np.float64), float("nan"))

    def incumbent(self, state: BaselineState) -> SavedPolicy:
        policy, network = state.model.policy, self.problem.network
        if self.algorithm == "ppo":
            parts, activation, squash = [policy.mlp_extractor.policy_net, policy.action_net], "tanh", "clip"
        else:
            parts, activation, squash = [policy.actor.mu], "relu", "tanh"
            parts[:0] = [policy.actor.latent_pi] if self.algorithm == "sac" else []
        layers = [module for part in parts for module in part.modules() if isinstance(module, nn.Linear)]
        flat = torch.cat([tensor.detach().flatten() for layer in layers for tensor in (layer.weight, layer.bias)])
        size = network.layout.observation_size
        return replace(
            SavedPolicy.of(network, flat),
            layout=replace(network.layout, activation=activation),
            observation_mean=torch.zeros(size),
            observation_std=torch.ones(size),
            squash=squash,
        )
