"""Names of policy sizes: presets, or widths such as `64-64`. Imports no torch."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from lightning_pz.common.errors import UserError, nearest
from lightning_pz.envs.presets import PolicyConfig, load_preset, preset_names


def sizes_named(names: str | None, like: PolicyConfig) -> list[PolicyConfig]:
    """Return the sizes that a text such as `small,64-64` names, in order; all else is as in `like`.

    Raises `UserError` for a name that is neither a preset nor widths.
    """
    return [_size_named(name.strip(), like) for name in (names or "").split(",") if names]


def _size_named(name: str, like: PolicyConfig) -> PolicyConfig:
    if re.fullmatch(r"[1-9]\d*(-[1-9]\d*)*", name):
        return dataclasses.replace(like, name=name, hidden=[int(width) for width in name.split("-")])
    known = preset_names("policy")
    if name not in known:
        raise UserError(
            f"--decodes expects sizes of policies with commas between them, each a preset ({', '.join(known)}) or hidden "
            f"widths, such as 64-64, but got {name!r}." + nearest(name, known)
        )
    preset = load_preset("policy", name)["policy"]
    return dataclasses.replace(like, name=name, hidden=list(preset["hidden"]), activation=preset["activation"])


def size_name(hidden: Sequence[int], activation: str) -> str:
    """Return the name of a size: that of the preset of these widths, or the widths themselves."""
    for name in preset_names("policy"):
        preset = load_preset("policy", name)["policy"]
        if (list(preset["hidden"]), preset["activation"]) == (list(hidden), activation):
            return name
    widths = "-".join(map(str, hidden)) or "affine"
    return widths if activation == "tanh" else f"{widths}-{activation}"
