"""One learner of Stable-Baselines3 with its environments: learns up to an episode's end, and can be packed and resumed."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.envs.guarded import FiniteOnly
from lightning_pz.envs.tasks import TaskWrapper
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.objective import Problem
from lightning_pz.search.rivals.export import to_policy
from lightning_pz.search.rivals.generators import OwnGenerators
from lightning_pz.search.rivals.hyperparameters import Hyperparameters, make_noise
from lightning_pz.search.rivals.numbered_choices import NumberedChoices
from lightning_pz.search.rivals.replayable import ReplayableEpisodes

_MODULES = {"tqc": "sb3_contrib", "crossq": "sb3_contrib"}
_CLASSES = {"crossq": "CrossQ"}
_COUNTS = ("num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining")
_EXPLORATION = ("_n_calls", "exploration_rate")
"""DQN's counter, by which it copies its network to the target, and its share of random actions, set after each step."""
_ARRAYS = ("_last_obs", "_last_original_obs", "_last_episode_starts")
_BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class Learner:
    """A learner that changes in place; its random numbers are its own.

    Raises:
        UserError: A hyperparameter that the algorithm refuses.
    """

    def __init__(self, algorithm: str, given: Hyperparameters, problem: Problem, seed: int, budget: int) -> None:
        from stable_baselines3.common.logger import Logger
        from stable_baselines3.common.monitor import Monitor
        from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

        self.algorithm, self.problem, self.budget = algorithm, problem, budget
        self.generators = OwnGenerators()
        self.least_steps = given.least_steps(problem.spec.horizon)
        self.episodes = [self._episodes(seed, index, given.envs) for index in range(given.envs)]
        self.monitors = [Monitor(one) for one in self.episodes]
        # A default argument, since a closure would see the last of them.
        env: VecEnv = DummyVecEnv([lambda one=one: one for one in self.monitors])  # type: ignore[misc]
        self.normal = None if given.normalize is None else VecNormalize(env, **given.normalize)
        more: dict[str, Any] = {key: _linear(first) for key, first in given.linear.items()}
        if (noise := make_noise(given.noise, problem.network.layout.action_size)) is not None:
            more["action_noise"] = noise
        with self.generators.in_use(), warnings.catch_warnings():
            # RL Zoo publishes a rollout of 8 steps with batches of 256 for one environment.
            warnings.filterwarnings("ignore", "You have specified a mini-batch size")
            try:
                self.model = self._make(self.normal or env, given.arguments | more | {"seed": seed, "device": "cpu"})
            except (TypeError, ValueError, AssertionError) as error:
                raise UserError(f"--algorithm {algorithm} refuses its hyperparameters: {error}") from error
        # Its own logger would leave a folder in the system's temporary one.
        self.model.set_logger(Logger(folder=None, output_formats=[]))
        self._callback: Any = None  # that the library wants; None before the first step

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return self.model.num_timesteps

    @property
    def ended(self) -> int:
        """Episodes so far."""
        return sum(one.ended for one in self.episodes)

    @property
    def returns(self) -> np.ndarray:
        """Returns of the last 100 episodes, with the noise of exploration, float64."""
        return np.array([episode["r"] for episode in self.model.ep_info_buffer or []], dtype=np.float64)

    def learn(self, chunk: int, stops: Sequence[int] = (), step_stops: Sequence[int] = ()) -> None:
        """Learn until an episode ends after at least `chunk` steps, or as one of the `stops`, or the budget is spent.

        A learner can be cut only between two rollouts, so it ends with the rollout in which the episode does. It also ends
        where another rollout could, or did, go beyond one of the `stops` or `step_stops`, so that what it has learned until
        then can be asked for.

        Raises:
            UserError: Numbers too large for its networks, or what the environment raises.
        """
        begun = self.steps
        with self.generators.in_use():
            if self._callback is None:
                self._begin(anew=True)
            while self.steps + self.least_steps <= self.budget:
                ended = self.ended
                self._learn_a_rollout()
                # An episode has a step at least, so that another rollout ends as many of them at most as it has steps.
                is_stop = any(ended < stop < self.ended + self.least_steps for stop in stops)
                is_stop |= any(begun < stop < self.steps + self.least_steps for stop in step_stops)
                if is_stop or (self.steps - begun >= chunk and self.ended > ended):
                    return

    def policy(self) -> SavedPolicy:
        """Return the policy by which it acts without noise."""
        return to_policy(self.model, self.problem.network)

    def pack(self) -> dict[str, Any]:
        """Return all that decides how it continues, as plain data and tensors."""
        model = self.model
        buffer, noise, entropy = (
            getattr(model, "replay_buffer", None),
            _noises(model),
            getattr(model, "log_ent_coef", None),
        )
        packed = {
            "parameters": model.get_parameters(),
            "entropy": None if entropy is None else entropy.detach().clone(),
            "counts": {name: getattr(model, name) for name in (*_COUNTS, *_EXPLORATION) if hasattr(model, name)},
            "arrays": {name: _tensor(getattr(model, name, None)) for name in _ARRAYS},
            "returns": [[float(one["r"]), int(one["l"])] for one in model.ep_info_buffer],
            "noise": [_tensor(getattr(one, "noise_prev", None)) for one in noise],
            "space": _plain(model.action_space.np_random.bit_generator.state),
            "episodes": [one.pack() for one in self.episodes],
            "generators": self.generators.states,
            "buffer": None,
            "normal": None,
        }
        if buffer is not None:
            kept = buffer.size()
            arrays = {name: torch.from_numpy(getattr(buffer, name)[:kept].copy()) for name in _BUFFER}
            packed["buffer"] = {"arrays": arrays, "pos": buffer.pos, "full": buffer.full}
        if (normal := self.normal) is not None:
            packed["normal"] = {
                "sums": [[_tensor(one.mean), _tensor(one.var), float(one.count)] for one in _sums(normal)],
                "returns": _tensor(normal.returns),
            }
        return packed

    def unpack(self, packed: dict[str, Any]) -> None:
        """Continue where the packed learner stood, to the last bit; `UserError` if the environment cannot."""
        model = self.model
        # The episodes first, since playing them again may draw random numbers.
        with self.generators.in_use():
            for one, monitor, state in zip(self.episodes, self.monitors, packed["episodes"], strict=True):
                one.replay(state, monitor)
        model.set_parameters(packed["parameters"], device="cpu")
        if packed["entropy"] is not None:
            model.log_ent_coef.data.copy_(packed["entropy"])
        for name, value in packed["counts"].items():
            setattr(model, name, value)
        for name, value in packed["arrays"].items():
            setattr(model, name, None if value is None else value.numpy())
        self._begin(anew=False)
        model.ep_info_buffer.extend({"r": value, "l": length, "t": 0.0} for value, length in packed["returns"])
        for noise, value in zip(_noises(model), packed["noise"], strict=True):
            if value is not None:
                noise.noise_prev = value.numpy()
        model.action_space.np_random.bit_generator.state = packed["space"]
        if (saved := packed["buffer"]) is not None:
            for name, value in saved["arrays"].items():
                getattr(model.replay_buffer, name)[: len(value)] = value.numpy()
            model.replay_buffer.pos, model.replay_buffer.full = saved["pos"], saved["full"]
        if self.normal is not None:
            for sums, (mean, variance, count) in zip(_sums(self.normal), packed["normal"]["sums"], strict=True):
                sums.mean, sums.var, sums.count = mean.numpy(), variance.numpy(), count
            self.normal.returns = packed["normal"]["returns"].numpy()
        self.generators.states = packed["generators"]

    def _make(self, env: Any, arguments: dict[str, Any]) -> Any:
        """Return the library's model."""
        kind = getattr(
            importlib.import_module(_MODULES.get(self.algorithm, "stable_baselines3")), _class_name(self.algorithm)
        )
        return kind("MlpPolicy", env, **arguments)

    def _episodes(self, seed: int, index: int, count: int) -> ReplayableEpisodes:
        p = self.problem
        env: gymnasium.Env = TaskWrapper(p.spec.make(max_episode_steps=p.spec.horizon), p.reward)
        env = NumberedChoices(env, p.spec) if p.spec.choices else env
        where = f"--algorithm {self.algorithm} learns from finite numbers, but {p.spec.id}, task {p.task!r},"
        advice = "find what overflows, or use a search that ranks such policies last (--algorithm pgpe)"
        return ReplayableEpisodes(FiniteOnly(env, where, advice), seed, index, count)

    def _begin(self, *, anew: bool) -> None:
        """Do what `learn` of the library does before its loop, once for the whole budget."""
        _, self._callback = self.model._setup_learn(self.budget, reset_num_timesteps=anew)
        self.model._total_timesteps = self.budget

    def _learn_a_rollout(self) -> None:
        """Take one turn of the loop in `learn` of the library, which cannot be stopped between two turns."""
        model = self.model
        try:
            if hasattr(model, "rollout_buffer"):
                model.collect_rollouts(model.env, self._callback, model.rollout_buffer, n_rollout_steps=model.n_steps)
                model._update_current_progress_remaining(model.num_timesteps, self.budget)
                model.train()
                return
            taken = model.collect_rollouts(
                model.env, train_freq=model.train_freq, action_noise=model.action_noise, callback=self._callback,
                learning_starts=model.learning_starts, replay_buffer=model.replay_buffer,
            )  # fmt: skip
            updates = taken.episode_timesteps if model.gradient_steps < 0 else model.gradient_steps
            if model.num_timesteps > model.learning_starts and updates:
                model.train(batch_size=model.batch_size, gradient_steps=updates)
        except ValueError as error:  # PyTorch refuses a normal distribution whose mean is NaN
            raise UserError(
                f"--algorithm {self.algorithm} cannot continue after {model.num_timesteps} steps on {self.problem.spec.id}, task "
                f"{self.problem.task!r}, most likely because observations or rewards are too large for its networks: "
                + str(error).splitlines()[0]
            ) from error


def _class_name(algorithm: str) -> str:
    return _CLASSES.get(algorithm, algorithm.upper())


def _linear(first: float) -> Any:
    return lambda remaining: first * remaining


def _sums(normal: Any) -> list[Any]:
    return [sums for sums in (normal.obs_rms, normal.ret_rms) if sums is not None]


def _noises(model: Any) -> list[Any]:
    noise = getattr(model, "action_noise", None)
    return getattr(noise, "noises", [] if noise is None else [noise])


def _tensor(array: Any) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(np.array(array))


def _plain(value: Any) -> Any:
    """Return nested dictionaries with Python's own numbers."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value if isinstance(value, str) else int(value)
