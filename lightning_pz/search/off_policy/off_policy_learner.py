"""A learner of `decoded_learners` with its environment, driven episode by episode, which can be packed and resumed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.algorithm_settings import SettledOffPolicySettings
from lightning_pz.search.objective import Problem
from lightning_pz.search.off_policy import pace_rules
from lightning_pz.search.off_policy.actor import ActorStart, DecodedActor
from lightning_pz.search.rivals.hyperparameters import Hyperparameters
from lightning_pz.search.rivals.learner import Learner
from lightning_pz.search.spaces import Decode


@dataclass(frozen=True)
class Recipe:
    """What a learner is made of, beside the problem."""

    algorithm: str
    settings: SettledOffPolicySettings
    decode: Decode | None  # From points of the latents to weights; None for free weights
    with_offset: bool  # Whether an offset of all weights is learned
    share: float  # Of old transitions in a batch


class OffPolicyLearner(Learner):
    """TD3, SAC or TQC with a decoded actor; plays whole episodes, and learns only when it is told to."""

    def __init__(
        self, recipe: Recipe, start: ActorStart, old: Any | None, problem: Problem, seed: int, budget: int
    ) -> None:
        self._recipe, self._start, self._old = recipe, start, old
        s = recipe.settings
        arguments = {
            "learning_rate": s.critic_rate, "buffer_size": max(1, budget), "learning_starts": 0, "batch_size": s.batch,
            "tau": s.target_rate, "gamma": s.discount, "train_freq": (1, "episode"), "gradient_steps": 0,
        }  # fmt: skip
        if recipe.algorithm == "td3":
            arguments |= {"target_policy_noise": s.target_noise, "target_noise_clip": s.target_noise_clip}
        else:
            arguments |= {"ent_coef": f"auto_{s.temperature}"}
        super().__init__(recipe.algorithm, Hyperparameters(arguments), problem, seed, budget)
        self.model.noise = s.noise
        with self.generators.in_use():
            self._begin(anew=True)

    def play(self, number: int, *, explores: bool) -> tuple[int, float]:
        """Play the episode whose number decides its seed, with or without noise; return its steps and its return."""
        before = self.steps
        with self.generators.in_use():
            self.episodes[0].number = number - 1
            self.model._last_obs = self.model.env.reset()
        self.model.explores = explores
        self.learn(1)
        return self.steps - before, float(self.returns[-1])

    def update(self, count: int, *, critics_only: bool = False) -> None:
        """Do so many updates, of the critics alone or of the actor too."""
        self.model.critics_only = critics_only
        with self.generators.in_use():
            self.model.train(count, self._recipe.settings.batch)

    @property
    def actor(self) -> DecodedActor:
        """The actor; see `moved`."""
        return self.model.policy.actor

    def begin_at(self, start: ActorStart) -> None:
        """Put the actor, and the one that the targets follow, at a start."""
        self.actor.begin_at(start)
        self.model.policy.actor_target.flat.copy_(self.params())

    def place(self) -> dict[str, Tensor]:
        """Return what the actor has learned."""
        return {name: part.detach().clone() for name, part in self.actor.named_parameters()}

    @torch.no_grad()
    def go_back(self, place: dict[str, Tensor], params: Float[Tensor, " params"]) -> None:
        """Put the actor back where it was when its average had these weights, at rest, and the average at them.

        The actor itself takes these weights where it has an offset of its own; a latent stays ahead of them.
        """
        for name, part in self.actor.named_parameters():
            part.copy_(place[name])
        self.actor.changed()
        if self.actor.offset is not None:
            self.actor.offset.add_(params - self.params())
            self.actor.changed()
        for moments in self.model.policy.actor.optimizer.state.values():
            moments["exp_avg"].zero_()
        self.model.policy.actor_target.flat.copy_(params)

    def params(self) -> Float[Tensor, " params"]:
        """Return the actor's weights."""
        return self.actor.params().detach()

    def average(self) -> Float[Tensor, " params"]:
        """Return the average of the actor's weights over the last updates, by which it acts without noise."""
        return self.model.policy.actor_target.flat

    def policy(self) -> SavedPolicy:
        """Return the policy by which it acts without noise."""
        return SavedPolicy.of(self.problem.network, self.average())

    def _make(self, env: Any, arguments: dict[str, Any]) -> Any:
        from lightning_pz.search.off_policy.decoded_learners import DecodedPolicy, DecodedSAC, DecodedTD3, DecodedTQC
        from lightning_pz.search.off_policy.mixed_replay import MixedReplay

        r, s = self._recipe, self._recipe.settings
        network, is_random = self.problem.network, r.algorithm != "td3"
        make_actor = partial(
            DecodedActor,
            network,
            self._start,
            r.decode,
            with_offset=r.with_offset,
            log_std=s.log_std if is_random else None,
        )
        outputs = pace_rules.QUANTILES if r.algorithm == "tqc" else 1
        old_steps = s.old_steps or (pace_rules.STEPS_ALONE if r.share == 1 and self._ends_early() else 1)
        critics = {"count": s.critics, "hidden": s.hidden, "outputs": outputs, "normalize": s.normalize}
        kind = {"td3": DecodedTD3, "sac": DecodedSAC, "tqc": DecodedTQC}[r.algorithm]
        rates = (s.latent_rate, s.actor_rate, s.critic_rate)
        return kind(
            DecodedPolicy, env, replay_buffer_class=MixedReplay, policy_kwargs={
                "make_actor": make_actor, "critics": critics, "rates": rates, "network": network,
            },
            replay_buffer_kwargs={
                "network": network, "old": self._old, "share": r.share, "enough": s.enough, "old_steps": old_steps,
                "discount": s.discount,
            }, **arguments,
        )  # fmt: skip

    def _ends_early(self) -> bool:
        return self._old is not None and bool(self._old.terminated.any())
