"""Statistics of Stable-Baselines3's `VecNormalize`, as the first layers of a policy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from lightning_pz.common.errors import UserError
from lightning_pz.compression.gym_pickles import load_pickle
from lightning_pz.compression.modules import Standardize, ToBox


def with_statistics(network: nn.Sequential, path: str | Path, size: int) -> nn.Sequential:
    """Return a policy that takes raw observations, made of one that takes normalized ones.

    That one takes `clip((x - mean) / sqrt(variance + epsilon), -c, c)`, of `size` numbers. The file that
    `VecNormalize.save` wrote is a pickle, which runs code of its own, as a model's zip does.

    Raises:
        UserError: Another kind of file, statistics of another size, or observations that were not normalized.
    """
    found = load_statistics(path)
    if not found.norm_obs:
        raise UserError(f"--normalization {path} did not normalize observations (norm_obs is False): leave it out")
    mean, variance, bound = map(np.concatenate, zip(*_parts(found), strict=True))
    if len(mean) != size:
        raise UserError(
            f"--normalization {path} has statistics of {len(mean)} numbers, but observations have {size}: give the file "
            "that was saved with this policy"
        )
    std, limit = torch.from_numpy(np.sqrt(variance + found.epsilon)), torch.from_numpy(bound)
    return nn.Sequential(Standardize(torch.from_numpy(mean), std), ToBox(-limit, limit, "clip"), *network)


def was_normalized(model: Any) -> bool | None:
    """Return whether a Stable-Baselines3 model was trained under `VecNormalize`; None where its zip leaves it open.

    Beside the last observation, which some zips lack, a zip keeps one that is called original. A learner without a replay
    buffer keeps it under `VecNormalize` alone. One with a replay buffer keeps it always, and then it is the observation
    before the last: only a type of its own, or a last observation alone outside the space, shows that the last was normalized.
    """
    original, last = getattr(model, "_last_original_obs", None), getattr(model, "_last_obs", None)
    if original is None:
        return False
    if not hasattr(model, "replay_buffer"):
        return True
    if last is None or isinstance(original, dict) != isinstance(model.observation_space, spaces.Dict):
        return None  # learners of goals kept dictionaries of observations that policies take as one vector
    parts = [(original[key], last[key]) for key in original] if isinstance(original, dict) else [(original, last)]
    if any(one.dtype != other.dtype for one, other in parts):
        return True

    def inside(seen: Any) -> bool:
        first = {key: part[0] for key, part in seen.items()} if isinstance(seen, dict) else seen[0]
        return model.observation_space.contains(first)

    # An environment may leave its own space; then the last observation proves nothing.
    return True if inside(original) and not inside(last) else None


def warn_of_statistics(model: Any, path: str | Path) -> None:
    """Warn on stderr where a model that is opened without statistics had some, or where some lie beside its zip."""
    folder, normalized = Path(path).parent, was_normalized(model)
    beside = ", ".join(map(str, sorted({*folder.glob("*vecnormalize*.pkl"), *folder.glob("*/vecnormalize.pkl")})))
    warning = (
        f"warning: {path} was trained under VecNormalize, and plays raw observations here, which it has never seen: give the "
        "statistics with --normalization FILE" + (f"; found beside it: {beside}" if beside else "")
        if normalized
        else f"warning: statistics of VecNormalize lie beside {path} ({beside}): if it was trained with them, give them with "
        "--normalization FILE, for it plays raw observations here"
    )
    if normalized or (normalized is None and beside):
        print(warning, file=sys.stderr)


def load_statistics(path: str | Path) -> Any:
    """Return the `VecNormalize` in a file that its `save` wrote; `UserError` for anything else."""
    from stable_baselines3.common.vec_env import VecNormalize

    advice = "give the file that VecNormalize.save wrote"
    try:
        found = load_pickle(Path(path).read_bytes())
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise UserError(f"--normalization {path} cannot be opened ({problem}): {advice}") from error
    if not isinstance(found, VecNormalize):
        raise UserError(f"--normalization {path} holds a {type(found).__name__}: {advice}")
    return found


def _parts(found: Any) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return mean, variance and bound of each part of the observation, in the order in which a policy joins them."""
    dictionary = isinstance(found.obs_rms, dict)
    parts = []
    for key, space in found.observation_space.spaces.items() if dictionary else [(None, found.observation_space)]:
        size, statistics = int(np.prod(space.shape)), found.obs_rms.get(key) if dictionary else found.obs_rms
        if statistics is None:
            # Exact but for the last digits that epsilon takes.
            parts.append((np.zeros(size), np.full(size, 1 - found.epsilon), np.full(size, np.inf)))
        else:
            mean, variance = (np.asarray(part, np.float64).ravel() for part in (statistics.mean, statistics.var))
            parts.append((mean, variance, np.full(len(mean), found.clip_obs)))
    return parts
