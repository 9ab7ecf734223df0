"""Settings that belong to one algorithm. Lengths are in standard deviations: of the pool's latents, or under the prior."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from lightning_pz.common import checks
from lightning_pz.common.errors import UserError


@dataclass(frozen=True)
class PgpeSettings:
    """Policy gradients with parameter-based exploration.

    Args:
        population: Policies per generation; even, since they come in pairs.
        episodes: Episodes per policy and generation.
        sigma: First standard deviation of the search distribution, in every direction.
        sigma_rate: Learning rate of the standard deviations, per generation.
        sigma_max_change: Largest relative change of a standard deviation per generation, as a share.
        optimizer: What moves the center.
        max_speed: ClipUp: longest step of the center per generation, as a share of the first radius
            (`sigma` times the root of the number of coordinates).
        momentum: ClipUp: share of the last step that is kept.
        learning_rate: Adam: learning rate of the center, as a share of `sigma` per generation.
    """

    population: int = 16
    episodes: int = 1
    sigma: float = 0.15
    sigma_rate: float = 0.1
    sigma_max_change: float = 0.2
    optimizer: Literal["clipup", "adam"] = "clipup"
    max_speed: float = 0.3
    momentum: float = 0.9
    learning_rate: float = 0.3

    def __post_init__(self) -> None:
        checks.check_choices(self, "pgpe.")
        if self.population < 2 or self.population % 2:
            raise UserError(
                f"--pgpe.population expects an even number of at least 2, since policies come in pairs, but got {self.population}"
            )
        checks.at_least(1, given_flags(self, "pgpe", "episodes"))
        checks.positive(given_flags(self, "pgpe", "sigma", "max_speed", "learning_rate"))
        checks.shares(given_flags(self, "pgpe", "sigma_max_change", "momentum"))
        if not (math.isfinite(self.sigma_rate) and self.sigma_rate >= 0):
            raise UserError(f"--pgpe.sigma_rate expects a number of at least 0, but got {self.sigma_rate}")


@dataclass(frozen=True)
class CmaesSettings:
    """Covariance matrix adaptation.

    Args:
        population: Policies per generation; 4 + 3 ln k for k coordinates if null.
        episodes: Episodes per policy and generation.
        sigma: First step size.
    """

    population: int | None = None
    episodes: int = 1
    sigma: float = 0.15

    def __post_init__(self) -> None:
        checks.at_least(2, given_flags(self, "cmaes", "population"))
        checks.at_least(1, given_flags(self, "cmaes", "episodes"))
        checks.positive(given_flags(self, "cmaes", "sigma"))


@dataclass(frozen=True)
class BoSettings:
    """Bayesian optimization, one episode at a time.

    Args:
        policies: With `--start pool_best`: how many of the pool's policies that earned most are considered.
        step: Largest standard deviation of a step from a policy that was tried.
    """

    policies: int = 40
    step: float = 0.5

    def __post_init__(self) -> None:
        checks.at_least(1, given_flags(self, "bo", "policies"))
        checks.positive(given_flags(self, "bo", "step"))


@dataclass(frozen=True)
class RandomLatentSettings:
    """The best of as many random latents as the budget allows.

    Args:
        population: Latents per generation.
        episodes: Episodes per latent.
    """

    population: int = 40
    episodes: int = 1

    def __post_init__(self) -> None:
        checks.at_least(1, given_flags(self, "random_latent", "population", "episodes"))


@dataclass(frozen=True)
class GradientSettings:
    """Policy gradient through the frozen decoder.

    Args:
        policies: Policies that are improved side by side, the best of the starts.
        episodes: Episodes per policy and step of the optimizer; at least 2.
        noise: Standard deviation of the noise on the action of a tanh head, as a share of half the action box; other heads
            draw their actions, with no more noise.
        discount: Discount of a return per environment step, in the gradient only; 1 for none.
        learning_rate: Adam's, on latents.
        parameter_learning_rate: Adam's, on weights, once the decoder is released.
    """

    policies: int = 4
    episodes: int = 8
    noise: float = 0.3
    discount: float = 0.99
    learning_rate: float = 0.1
    parameter_learning_rate: float = 0.03

    def __post_init__(self) -> None:
        checks.at_least(1, given_flags(self, "gradient", "policies"))
        checks.at_least(
            2, given_flags(self, "gradient", "episodes")
        )  # the baseline of an episode is the mean of the others
        checks.positive(given_flags(self, "gradient", "noise", "learning_rate", "parameter_learning_rate"))
        if not 0 < self.discount <= 1:
            raise UserError(f"--gradient.discount expects a number above 0 and at most 1, but got {self.discount}")


@dataclass(frozen=True)
class BaselineSettings:
    """Learners of Stable-Baselines3.

    Args:
        chunk: Environment steps between two evaluations, at least: they come at the end of an episode.
    """

    chunk: int = 2000

    def __post_init__(self) -> None:
        checks.at_least(1, given_flags(self, "baselines", "chunk"))


@dataclass(frozen=True)
class OffPolicySettings:
    """TD3, SAC and TQC with a decoded actor (`--space`).

    What is null depends on whether there are old data alone (`--replay 1`); see `for_replay`.

    Args:
        best: Policies of the grown pool that earned most in their own episodes, whose episodes are the old data.
        random: Other policies of the pool, drawn at random, whose episodes are old data too.
        enough: New environment steps from which on a batch holds new transitions; before, all are old. Without old data, updates of
            the critics alone before the actor moves.
        old_steps: Rewards of the old data that are added up before the critics' value of the state then reached; if null 1, but
            with old data alone 5 where one of their episodes ends early.
        critic_updates: Updates of the critics alone on old data, before the actor moves; if null 10,000, and 2,500 with old data
            alone.
        joint_updates: Updates of critics and actor on old data after those, before the first new step; if null 5,000, and 42,500
            with old data alone.
        updates_per_step: Updates after each episode, per step of it.
        critics: How many there are; values are the lowest of them, or all quantiles together.
        hidden: Widths of each critic's hidden layers.
        normalize: Whether they are normalized (layer normalization).
        critic_rate: Adam's learning rate of the critics.
        actor_rate: Adam's learning rate of weights and offsets; if null 3e-4, and 1e-3 with old data alone.
        latent_rate: Adam's learning rate of latents, in standard deviations.
        batch: Transitions in an update.
        discount: Per environment step.
        target_rate: Share of the way that the targets go towards the critics with each update.
        noise: `td3`: standard deviation of the noise on the actions of an episode, in half action boxes.
        target_noise: `td3`: that of the noise on the target policy's actions.
        target_noise_clip: `td3`: bound of it.
        log_std: `sac`, `tqc`: first logarithm of the standard deviation of an action before the tanh.
        temperature: `sac`, `tqc`: first weight of the entropy.
        tie: First weight of the squared difference of the actor's actions from the incumbent's, relative to the mean size of
            values; if null 0.1 with old data alone, and beside new steps 0.3 where an episode of the old data ends early and
            else 0.
    """

    best: int = 1000
    random: int = 1000
    enough: int = 2000
    old_steps: int | None = None
    critic_updates: int | None = None
    joint_updates: int | None = None
    updates_per_step: int = 1
    critics: int = 2
    hidden: list[int] = field(default_factory=lambda: [256, 256])
    normalize: bool = True
    critic_rate: float = 1e-3
    actor_rate: float | None = None
    latent_rate: float = 0.03
    batch: int = 256
    discount: float = 0.99
    target_rate: float = 0.005
    noise: float = 0.1
    target_noise: float = 0.2
    target_noise_clip: float = 0.5
    log_std: float = -2.0
    temperature: float = 0.05
    tie: float | None = None

    def __post_init__(self) -> None:
        counts = ("critics", "batch", "updates_per_step", "old_steps")
        checks.at_least(1, given_flags(self, "off_policy", *counts))
        checks.at_least(1, {"off_policy.hidden": min(self.hidden, default=0)})
        checks.at_least(
            0, given_flags(self, "off_policy", "best", "random", "enough", "critic_updates", "joint_updates")
        )
        rates = ("critic_rate", "actor_rate", "latent_rate", "target_noise_clip", "temperature")
        checks.positive(given_flags(self, "off_policy", *rates))
        for name in ("noise", "target_noise", "tie"):
            if (value := getattr(self, name)) is not None and not (math.isfinite(value) and value >= 0):
                raise UserError(f"--off_policy.{name} expects a number of at least 0, but got {value}")
        if not math.isfinite(self.log_std):
            raise UserError(f"--off_policy.log_std expects a number, but got {self.log_std}")
        for name in ("discount", "target_rate"):
            if not 0 < (value := getattr(self, name)) <= 1:
                raise UserError(f"--off_policy.{name} expects a number above 0 and at most 1, but got {value}")

    def for_replay(self, share: float) -> SettledOffPolicySettings:
        """Return the settings with numbers for what is null and no matter of the old data themselves.

        With a share of 1 nothing corrects a critic that is wrong about actions which no episode shows, so the actor is tied to
        its start, lightly; and since no step is waited for, there is time for many more updates.
        """
        numbers = (
            {"critic_updates": 2_500, "joint_updates": 42_500, "actor_rate": 1e-3, "tie": 0.1} if share == 1 else {}
        )
        given = {name: value for name, value in vars(self).items() if value is not None}
        return SettledOffPolicySettings(**numbers | given)


@dataclass(frozen=True)
class SettledOffPolicySettings(OffPolicySettings):
    """The same where it is known whether there are old data alone; the defaults are those beside new steps."""

    critic_updates: int = 10_000
    joint_updates: int = 5_000
    actor_rate: float = 3e-4


def given_flags(settings: Any, section: str, *names: str) -> dict[str, Any]:
    """Return the values of some settings by command-line name, without those that are null."""
    values = {f"{section}.{name}".lstrip("."): getattr(settings, name) for name in names}
    return {flag: value for flag, value in values.items() if value is not None}
