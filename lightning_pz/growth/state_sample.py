"""The state sample of a grown pool follows its policies, and no part of it sees what another part sees."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int

from lightning_pz.common.errors import UserError
from lightning_pz.growth.archive import Archive
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.states import SPLITS, StateSample

_ALIKE = 1e-3
"""Root mean square distance, in standard deviations of each coordinate, below which two states count as one."""


def follow(sample: StateSample, archive: Archive, recipe: GrownRecipe) -> Float[np.ndarray, "states observation"]:
    """Return the state sample with a share of each part replaced by states that kept policies visited, (S, O).

    All policies of a generation begin at the same reset, and siblings stay close to each other for a while. So each part
    takes states of whole generations, and none that lies in another part already. Where fewer are left than the share asks
    for, states of the given sample stay. The statistics by which policies see the world stay as they were, for the
    policies would be others with new ones. Raises `UserError` for fewer generations than parts.
    """
    counts, states = recipe.states, sample.states.numpy().copy()
    if not recipe.visited:
        return states
    scale = sample.std.numpy() * np.sqrt(states.shape[1])
    generator = np.random.default_rng(np.random.SeedSequence(recipe.seed, spawn_key=(7, 0)))
    sizes = np.array([getattr(counts, name) for name in SPLITS])
    parts = share_out(recipe.generation_of(archive.numbers), sizes, generator)
    for part, span in enumerate(counts.slices().values()):
        wanted = round(recipe.visited * (span.stop - span.start))
        seen = archive.visited[parts == part].reshape(-1, states.shape[1])
        others = np.delete(states, np.r_[span], axis=0)
        chosen = _first_apart(seen[generator.permutation(len(seen))], others, scale, wanted)
        states[span.start : span.start + len(chosen)] = chosen
    return states


def share_out(
    groups: Int[np.ndarray, " policies"], shares: Float[np.ndarray, " parts"] | Int[np.ndarray, " parts"],
    generator: np.random.Generator,
) -> Int[np.ndarray, " policies"]:  # fmt: skip
    """Give whole groups of policies to parts, so that each part has about its share, and return each policy's part.

    Group 0, the first policies, is the largest and comes first; the others follow in random order, each to the part that
    is short of the most policies. No part stays empty: fewer groups than parts raise `UserError`. Shares need not sum to 1.
    """
    names, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < len(shares):
        raise UserError(
            f"the kept policies come from {len(names)} generations, too few to give each of the {len(shares)} parts of the "
            "state sample some of its own: raise --steps or --generations, or give --visited 0"
        )
    short = shares / shares.sum() * len(groups)
    part_of, empty = np.empty(len(names), dtype=int), np.ones(len(shares), dtype=bool)
    order = generator.permutation(len(names))
    order = np.concatenate([order[names[order] == 0], order[names[order] != 0]])
    for place, group in enumerate(order):
        must = empty if empty.sum() == len(order) - place else np.ones_like(empty)
        part = int(np.argmax(np.where(must, short, -np.inf)))
        part_of[group], empty[part] = part, False
        short[part] -= sizes[group]
    return part_of[members]


def _first_apart(candidates: np.ndarray, others: np.ndarray, scale: np.ndarray, wanted: int) -> np.ndarray:
    """Return the first candidates, (n, O), at most `wanted`, that are not like one of the others."""
    against = torch.from_numpy(others / scale)
    chosen: list[np.ndarray] = [candidates[:0]]
    for start in range(0, len(candidates), max(wanted, 1)):
        if sum(map(len, chosen)) >= wanted:
            break
        block = candidates[start : start + wanted]
        # The exact way: differences of squares would lose small distances.
        distance = torch.cdist(
            torch.from_numpy(block / scale), against, compute_mode="donot_use_mm_for_euclid_dist"
        ).amin(1)
        chosen.append(block[(distance > _ALIKE).numpy()])
    return np.concatenate(chosen)[:wanted]
