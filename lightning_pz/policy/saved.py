"""One policy in a file of its own: weights, layout, statistics and action box, without decoder or checkpoint."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import replacing, safe_name
from lightning_pz.common.identity import digest
from lightning_pz.policy.layout import ACTIVATIONS, Layout
from lightning_pz.policy.network import STATISTICS, PolicyNetwork
from lightning_pz.policy.network_plan import NetworkPlan, Tensors

SQUASHES = ("tanh", "clip")
_ARRAYS = ("params", *STATISTICS)
_BOUNDS = ("observation_clip", "limit")


@dataclass(frozen=True)
class SavedPolicy:
    """A policy on its own; all arrays are float32."""

    layout: Layout
    params: Float[Tensor, " params"]
    observation_mean: Float[Tensor, " observation"]  # in the environment's units
    observation_std: Float[Tensor, " observation"]
    action_low: Float[Tensor, " action"]
    action_high: Float[Tensor, " action"]
    # How a tanh head's last layer is brought into the box: `tanh` scales it, as in all policies of this package; `clip`
    # cuts it off at the box, in units of the action, as in PPO's.
    squash: str = "tanh"
    # Bounds that other libraries' policies have: of a standardized observation, and of the last layer before it is squashed
    observation_clip: float = math.inf
    limit: float = math.inf

    @classmethod
    def of(cls, network: PolicyNetwork, params: Float[Tensor, " params"]) -> SavedPolicy:
        """Take one policy out of those that share a network."""
        shared = {name: getattr(network, name).cpu() for name in STATISTICS}
        return cls(network.layout, params.detach().float().cpu().clone(), **shared)

    @property
    def is_plain(self) -> bool:
        """Whether it is a `PolicyNetwork` with weights, without bounds of another library's."""
        return self.squash == "tanh" and not self._bounds()

    def network(self) -> PolicyNetwork:
        """Return the part that it shares with others, for `lightning_pz.envs.rollout`; `ValueError` unless plain."""
        if not self.is_plain:
            raise ValueError("a policy whose actions are clipped is no PolicyNetwork: use its method act")
        return PolicyNetwork(self.layout, **{name: getattr(self, name) for name in STATISTICS})

    @torch.no_grad()
    def act(self, observations: Float[Tensor, "states observation"]) -> Real[Tensor, "states action"]:
        """Return the actions, without noise, on raw observations, inside the action box; int64 if they are choices."""
        x = ((observations - self.observation_mean) / self.observation_std).clamp(
            -self.observation_clip, self.observation_clip
        )
        *hidden, (last, last_bias) = self.layout.unpack(self.params[None])
        for weight, bias in hidden:
            x = ACTIVATIONS[self.layout.activation](torch.addmm(bias[0], x, weight[0].T))
        x = torch.addmm(last_bias[0], x, last[0].T).clamp(-self.limit, self.limit)
        if self.squash == "clip":
            return torch.minimum(torch.maximum(x, self.action_low), self.action_high)
        chosen = self.layout.head.choose(x)
        if self.layout.head.choices:
            return chosen + self.action_low.long()
        return self.action_low + (chosen + 1) * 0.5 * (self.action_high - self.action_low)

    def digest(self) -> str:
        """Return a digest of the policy that does not depend on how its file is packed."""
        arrays = [hashlib.sha256(getattr(self, name).numpy().tobytes()).hexdigest() for name in _ARRAYS]
        return digest([self.layout.to_dict(), self.squash, arrays, *sorted(self._bounds().items())])[:16]

    def _bounds(self) -> dict[str, float]:
        """Return the bounds that there are, by name."""
        return {name: bound for name in _BOUNDS if math.isfinite(bound := getattr(self, name))}

    def plan(self) -> tuple[NetworkPlan, Tensors]:
        """Return it as a network of its own: raw observation in, action inside the box out, or scores of the choices."""
        plan, tensors = self.last_layer()
        if (head := self.layout.head).choices:
            return plan, tensors
        if head.kind == "gaussian":  # whose means come first
            last = len(self.layout.hidden)
            tensors |= {name: tensors[name][: self.layout.action_size] for name in (f"weight_{last}", f"bias_{last}")}
        return [*plan, {"kind": "box", "squash": self.squash, "low": "action_low", "high": "action_high"}], tensors

    def last_layer(self) -> tuple[NetworkPlan, Tensors]:
        """Return it as a network of its own up to the numbers of its last layer."""
        tensors: Tensors = {name: getattr(self, name) for name in STATISTICS}

        def bound(name: str, size: int) -> NetworkPlan:
            if not math.isfinite(at := getattr(self, name)):
                return []
            tensors.update({f"{name}_low": torch.full((size,), -at), f"{name}_high": torch.full((size,), at)})
            return [{"kind": "box", "squash": "clip", "low": f"{name}_low", "high": f"{name}_high"}]

        hidden = {"kind": {"linear": "identity"}.get(self.layout.activation, self.layout.activation)}
        plan: NetworkPlan = [{"kind": "standardize", "mean": "observation_mean", "std": "observation_std"}]
        plan += bound("observation_clip", self.layout.observation_size)
        for number, (weight, bias) in enumerate(self.layout.unpack(self.params[None])):
            tensors |= {f"weight_{number}": weight[0], f"bias_{number}": bias[0]}
            plan += [{"kind": "linear", "weight": f"weight_{number}", "bias": f"bias_{number}"}, hidden]
        return [*plan[:-1], *bound("limit", self.layout.feature_size)], tensors

    def save(self, path: Path) -> None:
        """Write an `.npz`: the arrays above by name, `layout` and `squash` as JSON text, and the bounds that there are."""
        texts: dict[str, Any] = {"layout": np.array(json.dumps(self.layout.to_dict())), "squash": np.array(self.squash)}
        texts |= {name: np.array(bound) for name, bound in self._bounds().items()}
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **texts, **{name: getattr(self, name).numpy() for name in _ARRAYS})


def policy_file(task: str) -> str:
    """Return the name of a task's policy file in a folder with one for each of several tasks."""
    return f"{safe_name(task)}.npz"


def load_policy(path: str | Path) -> SavedPolicy:
    """Read a policy that `SavedPolicy.save` wrote; numbers of other real types become float32.

    Raises:
        UserError: No file, one that holds no policy, or a policy whose arrays do not fit together, are not finite, or hold no
            standard deviation or action box.
    """
    if not Path(path).is_file():
        raise UserError(f"expected a policy file (policy.npz), but there is none at {path}")
    try:
        # Opened here, for NumPy leaves a cut file open.
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file, np.errstate(over="ignore"):
            arrays = {name: torch.from_numpy(file[name].astype(np.float32)) for name in _ARRAYS}
            layout, squash = Layout.from_dict(json.loads(str(file["layout"]))), str(file["squash"])
            bounds: dict[str, Any] = {name: float(file[name]) for name in _BOUNDS if name in file}
    # A cut or altered file fails in as many ways as zip, NumPy and JSON have.
    except Exception as error:
        raise UserError(
            f"{path} is no policy file ({type(error).__name__}: {error}): give a policy.npz that "
            "python -m lightning_pz.finetune wrote"
        ) from error
    seen, acts = layout.observation_size, layout.action_size
    for name, size in zip(_ARRAYS, (layout.num_params, seen, seen, acts, acts), strict=True):
        if arrays[name].shape != (size,):
            raise UserError(
                f"{path} is broken: {layout} has {size} numbers in {name}, but there is an array of shape "
                f"{tuple(arrays[name].shape)}"
            )
        if not torch.isfinite(arrays[name]).all():
            raise UserError(f"{path} is broken: {name} holds numbers that are not finite in float32")
    if not (arrays["observation_std"] > 0).all():
        least = arrays["observation_std"].min().item()
        raise UserError(f"{path} is broken: observation_std expects numbers above 0 in float32, but holds {least:g}")
    if not (arrays["action_low"] < arrays["action_high"]).all():
        low, high = (arrays[name].tolist() for name in ("action_low", "action_high"))
        raise UserError(
            f"{path} is broken: action_low expects numbers below action_high, but they are {low} and {high}"
        )
    if squash not in SQUASHES:
        raise UserError(f"{path} is broken: squash is {squash!r}, and not one of {', '.join(SQUASHES)}")
    if wrong := [name for name, bound in bounds.items() if not bound > 0]:
        raise UserError(f"{path} is broken: {wrong[0]} is {bounds[wrong[0]]}, but a bound is above 0")
    clip, limit = (bounds.get(name, math.inf) for name in _BOUNDS)
    return SavedPolicy(layout=layout, squash=squash, observation_clip=clip, limit=limit, **arrays)
