"""Settings of the parts of a method, and of the distillation. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lightning_pz.common.checks import at_least, positive
from lightning_pz.common.errors import UserError
from lightning_pz.compression.seeds import check_measured


@dataclass(frozen=True)
class L0Settings:
    """Hard-concrete gates.

    Args:
        penalty: Weight of the expected share of open gates in the loss, no unit.
        learning_rate: Adam's, of the gates' locations.
        start: Probability that a gate is open at the start.
    """

    penalty: float = 0.1
    learning_rate: float = 0.01
    start: float = 0.9

    def __post_init__(self) -> None:
        positive({"l0.penalty": self.penalty, "l0.learning_rate": self.learning_rate})
        _inner_share("l0.start", self.start)


@dataclass(frozen=True)
class Int8Settings:
    """Int8 of weights.

    Args:
        per_channel: Whether each output channel has a scale of its own; else each matrix has one, and convolutions have one
            per channel all the same.
    """

    per_channel: bool = False


@dataclass(frozen=True)
class Int4Settings:
    """4 bits of weights.

    Args:
        per_channel: Whether each output channel has a scale of its own; else each matrix has one, for a smaller file whose
            behavior is further off.
    """

    per_channel: bool = True


@dataclass(frozen=True)
class LowRankSettings:
    """Truncated singular value decomposition, its rank by one of four rules. A layer whose factors would be no smaller
    stays as it is.

    Args:
        energy: Share of the squared singular values to keep.
        rank: The same rank for every layer; null for another rule.
        params: Share of a layer's weights that its factors may hold; null for another rule.
        error: Behavior FVU that all truncations together may cause; null for another rule.
    """

    energy: float = 0.99
    rank: int | None = None
    params: float | None = None
    error: float | None = None

    def __post_init__(self) -> None:
        _inner_share("low_rank.energy", self.energy)
        rules = [name for name in ("rank", "params", "error") if getattr(self, name) is not None]
        if len(rules) > 1:
            raise UserError(f"--low_rank expects one rule for the rank, but got {' and '.join(rules)}: leave one null")
        at_least(1, {} if self.rank is None else {"low_rank.rank": self.rank})
        positive({} if self.error is None else {"low_rank.error": self.error})
        if self.params is not None:
            _inner_share("low_rank.params", self.params)


@dataclass(frozen=True)
class DistillSettings:
    """Fine-tuning on a policy's own behavior, without reward.

    Args:
        steps: Gradient steps before those of int8 or int4.
        batch_size: Visited states per step.
        learning_rate: Adam's, falling to 0 by a cosine over the training and again over that of int8 or int4.
        episodes: Episodes that the policy plays to visit states.
        held_out: More of them, on whose states the behavior FVU is measured.
        rounds: How often the compressed policy plays as many episodes and the policy says what it would have done.
        device: What computes the gradient steps: cpu, cuda, or one of several such as cuda:1. Physics runs on the CPU. A GPU is
            faster with images or batches of thousands.
    """

    steps: int = 20_000
    batch_size: int = 256
    learning_rate: float = 1e-3
    episodes: int = 20
    held_out: int = 5
    rounds: int = 4
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise UserError(
                f"--distill.device expects cpu, cuda, or one of several such as cuda:1, but got {self.device!r}"
            )
        at_least(1, {f"distill.{name}": getattr(self, name) for name in ("steps", "batch_size", "episodes")})
        at_least(0, {"distill.rounds": self.rounds})
        check_measured("distill.held_out", self.held_out, least=1)
        positive({"distill.learning_rate": self.learning_rate})


def _inner_share(flag: str, value: float) -> None:
    if not 0 < value < 1:
        raise UserError(f"--{flag} expects a share above 0 and below 1, but got {value}")
