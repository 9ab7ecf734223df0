"""Heads: what the numbers of a policy's last layer mean, and the behavior features that stand for the distribution of its action.

Features are points of a Euclidean space, so that losses, novelty, floors and probes need to know nothing of heads:

| head | last layer | features on a state | squared distance of features |
|---|---|---|---|
| `tanh` | A numbers | the action, in half action boxes | squared difference of the actions |
| `gaussian` | A means, then A numbers that give standard deviations | both, in half action boxes | squared 2-Wasserstein distance |
| `categorical` | logits of every choice, factor after factor | roots of their probabilities | twice the squared Hellinger distance, summed over factors |

Sources: Olkin and Pukelsheim 1982 (2-Wasserstein distance of Gaussians; of diagonal ones it is the Euclidean distance of
means and standard deviations together); Hellinger 1909: `H^2 = 1 - sum sqrt(p q) = |sqrt p - sqrt q|^2 / 2`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Real
from torch import Tensor

from lightning_pz.common.checks import one_of
from lightning_pz.common.errors import UserError

HeadKind = Literal["tanh", "gaussian", "categorical"]
_LOG_ROOT_TAU = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Head:
    """What the last layer means.

    Args:
        kind: One of the table above.
        choices: `categorical`: how many choices each factor of an action has, 2 or more; none for the others.
        temperature: `categorical`: by which logits are divided.
        initial_std: `gaussian`: standard deviation where the last layer gives 0, in half action boxes; twice that is the bound.
        sample: Whether actions are drawn from the distribution. Else the mean, or the most likely choice, is taken.

    Raises:
        UserError: A temperature or standard deviation that is not positive and finite, or a sampled action of `tanh`.
        ValueError: Choices that do not go with the kind.
    """

    kind: HeadKind = "tanh"
    choices: tuple[int, ...] = ()
    temperature: float = 1.0
    initial_std: float = 0.3
    sample: bool = False

    def __post_init__(self) -> None:
        one_of("policy.head", self.kind, get_args(HeadKind))
        for name in ("temperature", "initial_std"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise UserError(f"--policy.{name} expects a positive, finite number, but got {value}")
        if (self.kind == "categorical") != bool(self.choices) or any(count < 2 for count in self.choices):
            raise ValueError(f"a {self.kind} head cannot have the choices {self.choices}")
        if self.sample and self.kind == "tanh":
            raise UserError(
                "--policy.sample true draws actions from a distribution, but a tanh head gives one action: ask for "
                "--policy.head gaussian too"
            )

    def output_size(self, action_size: int) -> int:
        """Return how many numbers the last layer has, which is how many features there are, for actions of A numbers."""
        return {"tanh": action_size, "gaussian": 2 * action_size, "categorical": sum(self.choices)}[self.kind]

    def features(self, outputs: Float[Tensor, "*states output"]) -> Float[Tensor, "*states feature"]:
        """Return the behavior features of the last layer's numbers."""
        if self.kind == "tanh":
            return torch.tanh(outputs)
        if self.kind == "gaussian":
            mean, raw = outputs.chunk(2, dim=-1)
            return torch.cat([torch.tanh(mean), 2 * self.initial_std * torch.sigmoid(raw)], dim=-1)
        # The root of a softmax is that of half the logarithms, which has no infinite derivative at 0.
        logs = [torch.log_softmax(part, dim=-1) for part in self._factors(outputs / self.temperature)]
        return torch.cat([torch.exp(0.5 * log) for log in logs], dim=-1)

    def choose(self, outputs: Float[Tensor, "*states output"]) -> Real[Tensor, "*states action"]:
        """Return the actions without noise: in half action boxes, (..., A), or the numbers of the most likely choices, int64."""
        if self.kind == "categorical":
            return torch.stack([part.argmax(-1) for part in self._factors(outputs)], dim=-1)
        return torch.tanh(outputs.chunk(2, dim=-1)[0] if self.kind == "gaussian" else outputs)

    def log_prob(
        self,
        outputs: Float[Tensor, "*states output"],
        actions: Real[Tensor, "*states action"],
    ) -> Float[Tensor, "*states"]:
        """Return the logarithm of the probability of actions, (...), summed over their coordinates or factors.

        Outputs are the last layer's, (..., L); actions, (..., A), are drawn or as `choose` gives them. Of a `gaussian`
        head it is that of the density per half action box, which may exceed 0.

        Raises:
            ValueError: A `tanh` head, which has no distribution.
        """
        if self.kind == "tanh":
            raise ValueError("a tanh head gives one action, which has no density")
        if self.kind == "gaussian":
            mean, std = self.features(outputs).chunk(2, dim=-1)
            return (-0.5 * ((actions - mean) / std).square() - std.log() - _LOG_ROOT_TAU).sum(-1)
        logs = [torch.log_softmax(part, dim=-1) for part in self._factors(outputs / self.temperature)]
        numbers = actions.long().unbind(-1)
        return torch.stack(
            [log.gather(-1, number[..., None])[..., 0] for log, number in zip(logs, numbers, strict=True)], dim=-1
        ).sum(-1)

    def entropy(self, features: Float[Tensor, "*states feature"]) -> Float[Tensor, "*states"]:
        """Return the entropy of the distributions that features, (..., F), stand for, in nats, (...).

        Of choices it is the sum over factors of `-sum p log p`, from 0 to that of uniform choices. Of a `gaussian` head
        it is that of the density per half action box, `sum_i (log s_i + (1 + log 2 pi) / 2)`, negative where standard
        deviations s are small.

        Raises:
            ValueError: A `tanh` head, which has no distribution.
        """
        if self.kind == "tanh":
            raise ValueError("a tanh head gives one action, which has no entropy")
        if self.kind == "gaussian":
            return (features.chunk(2, dim=-1)[1].log() + 0.5 + _LOG_ROOT_TAU).sum(-1)
        probabilities = features.square()
        return -torch.xlogy(probabilities, probabilities).sum(-1)

    def _factors(self, outputs: Tensor) -> tuple[Tensor, ...]:
        return outputs.split(list(self.choices), dim=-1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON and checkpoints: all that decides what this kind of head does."""
        own: dict[str, tuple[str, ...]] = {
            "tanh": (), "gaussian": ("initial_std", "sample"), "categorical": ("choices", "temperature", "sample"),
        }  # fmt: skip
        plain = {name: getattr(self, name) for name in ("kind", *own[self.kind])}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Head:
        """Make a head from a result of `to_dict`."""
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()
        }
        return cls(**given)
