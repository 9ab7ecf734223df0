"""Settings that belong to one algorithm each; what all searches share is in `settings`. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_pz.common.checks import at_least, one_of, positive, shares
from lightning_pz.common.errors import UserError

OPTIMIZERS = ("clipup", "adam")


@dataclass(frozen=True)
class PgpeSettings:
    """Policy gradients with parameter-based exploration; lengths are in standard deviations of the search space.

    Args:
        population: Policies per generation; even, for they come in pairs.
        episodes: Episodes per policy and generation.
        sigma: First standard deviation of the search distribution, in every direction.
        sigma_rate: Learning rate of the standard deviations, per generation.
        sigma_max_change: Largest relative change of a standard deviation per generation.
        optimizer: What moves the center: `clipup` or `adam`.
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
    optimizer: str = "clipup"
    max_speed: float = 0.3
    momentum: float = 0.9
    learning_rate: float = 0.3

    def check(self, flag: str = "pgpe") -> None:
        """Raise `UserError` for a value outside its range."""
        if self.population < 2 or self.population % 2:
            raise UserError(
                f"--{flag}.population expects an even number of at least 2, for policies come in pairs, "
                f"but got {self.population}"
            )
        at_least(1, {f"{flag}.episodes": self.episodes})
        positive({
            f"{flag}.sigma": self.sigma, f"{flag}.max_speed": self.max_speed, f"{flag}.learning_rate": self.learning_rate,
        })  # fmt: skip
        shares({f"{flag}.sigma_max_change": self.sigma_max_change, f"{flag}.momentum": self.momentum})
        if not (math.isfinite(self.sigma_rate) and self.sigma_rate >= 0):
            raise UserError(f"--{flag}.sigma_rate expects a number of at least 0, but got {self.sigma_rate}")
        one_of(f"{flag}.optimizer", self.optimizer, OPTIMIZERS)


@dataclass(frozen=True)
class CmaesSettings:
    """Covariance matrix adaptation.

    Args:
        population: Policies per generation; what the package `cma` takes for this many coordinates if null.
        episodes: Episodes per policy and generation.
        sigma: First step size, in standard deviations of the latents.
    """

    population: int | None = None
    episodes: int = 1
    sigma: float = 0.15

    def check(self) -> None:
        """Raise `UserError` for a value outside its range."""
        if self.population is not None and self.population < 2:
            raise UserError(f"--cmaes.population expects at least 2 policies, but got {self.population}")
        at_least(1, {"cmaes.episodes": self.episodes})
        positive({"cmaes.sigma": self.sigma})


@dataclass(frozen=True)
class RandomLatentSettings:
    """The best of as many random latents as the budget allows.

    Args:
        population: Latents per generation.
        episodes: Episodes per latent.
    """

    population: int = 40
    episodes: int = 1

    def check(self) -> None:
        """Raise `UserError` for a value outside its range."""
        at_least(1, {"random_latent.population": self.population, "random_latent.episodes": self.episodes})


@dataclass(frozen=True)
class GradientSettings:
    """Policy gradient through the frozen decoder.

    Args:
        policies: Policies that are improved side by side, the best of the starts.
        episodes: Episodes per policy and step of the optimizer.
        noise: Standard deviation of the exploration noise on the action, as a share of half the action box.
        discount: Discount of a return in the gradient per environment step; 1 for none. Returns that are
            reported are never discounted.
        learning_rate: Adam's, in standard deviations of the latents.
        parameter_learning_rate: Adam's once the decoder is released, in standard deviations of each weight under
            the prior.
    """

    policies: int = 4
    episodes: int = 8
    noise: float = 0.3
    discount: float = 0.99
    learning_rate: float = 0.1
    parameter_learning_rate: float = 0.03

    def check(self) -> None:
        """Raise `UserError` for a value outside its range."""
        at_least(1, {"gradient.policies": self.policies})
        # The baseline of an episode is the mean of the others.
        at_least(2, {"gradient.episodes": self.episodes})
        positive({
            "gradient.noise": self.noise, "gradient.learning_rate": self.learning_rate,
            "gradient.parameter_learning_rate": self.parameter_learning_rate,
        })  # fmt: skip
        if not 0 < self.discount <= 1:
            raise UserError(f"--gradient.discount expects a number above 0 and at most 1, but got {self.discount}")


@dataclass(frozen=True)
class BaselineSettings:
    """Stable-Baselines3, with its documented defaults but for the actor's width, which is the policy's.

    Args:
        chunk: Environment steps between two looks at the policy, for sac, td3 and ddpg; ppo has its own rollouts.
    """

    chunk: int = 2000

    def check(self) -> None:
        """Raise `UserError` for a value outside its range."""
        at_least(1, {"baselines.chunk": self.chunk})
