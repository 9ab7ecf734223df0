"""The layout that settings of a policy ask for in an environment, whose head has to fit the actions, and back."""

from __future__ import annotations

from typing import Any

from lightning_pz.common.errors import UserError
from lightning_pz.envs.policy_sizes import size_name
from lightning_pz.envs.presets import PolicyConfig
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.policy import Head, Layout


def policy_layout(spec: EnvSpec, policy: PolicyConfig) -> Layout:
    """Return the layout of a policy for an environment.

    Raises `UserError` for a head that does not fit the actions, or a setting of another head.
    """
    box = not spec.choices
    kind = policy.head if policy.head != "auto" else "tanh" if box else "categorical"
    if box == (kind == "categorical"):
        has, fits = (
            ("actions in a box", "tanh or gaussian") if box else (f"actions of {spec.choices} choices", "categorical")
        )
        raise UserError(
            f"--policy.head {kind} does not fit {spec.id}, which has {has}: leave it out, or ask for {fits}"
        )
    default = PolicyConfig()
    owners = {"temperature": "categorical", "initial_std": "gaussian"}
    for name, owner in owners.items():
        if kind != owner and getattr(policy, name) != getattr(default, name):
            raise UserError(
                f"--policy.{name} goes with --policy.head {owner}, but {spec.id} has a {kind} head: leave it out"
            )
    # Only its own, so that a head equals one that is read from a pool.
    own = {name: getattr(policy, name) for name, owner in owners.items() if kind == owner}
    head = Head(kind, spec.choices, sample=policy.sample, **own)
    return Layout(spec.observation_size, tuple(policy.hidden), spec.action_size, policy.activation, head)


def layout_settings(layout: Layout) -> PolicyConfig:
    """Return the settings that ask for a layout; see `policy_layout`."""
    own: dict[str, Any] = {
        name: value for name, value in layout.head.to_dict().items() if name not in ("kind", "choices")
    }
    own |= {"name": size_name(layout.hidden, layout.activation), "activation": layout.activation}
    return PolicyConfig(
        hidden=list(layout.hidden), head="gaussian" if layout.head.kind == "gaussian" else "auto", **own
    )
