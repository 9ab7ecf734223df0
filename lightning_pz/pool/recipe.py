"""The random recipe: draw candidates, compare their actions, keep the most novel."""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from lightning_pz.common.checks import at_least, check_choices, seeds
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import new_folder
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.policy import Layout, PolicyNetwork, Prior
from lightning_pz.pool.novelty import first_of_each, most_novel, novelty, novelty_contrast
from lightning_pz.pool.recipe_identity import common_meta, find_or_make
from lightning_pz.pool.sampling import act_table, drawn_chunks
from lightning_pz.pool.states import StateCounts, behavior_bytes, sample_states
from lightning_pz.pool.store import Pool, mapped_array, params_checksum, write_array, write_meta


@dataclass(frozen=True)
class RandomRecipe:
    """How a random pool is made; everything here is part of the pool's name.

    Args:
        candidates: Random policies to draw.
        keep: Share of the distinct candidates to keep, the most novel ones; 0.1 is the paper's, 1 keeps all.
        neighbors: Nearest neighbors that novelty averages over.
        seed: Seed of candidates and state sample.
        prior: Distribution of the candidates.
        states: Sizes of the parts of the state sample.
        store: `seeds` keeps a policy as its index, `params` also writes its weights.
    """

    candidates: int = 60_000
    keep: float = 0.9
    neighbors: int = 15
    seed: int = 0
    prior: Prior = field(default_factory=Prior)
    states: StateCounts = field(default_factory=StateCounts)
    store: Literal["seeds", "params"] = "seeds"

    def __post_init__(self) -> None:
        at_least(10, {"candidates": self.candidates})
        if not 0 < self.keep <= 1:
            raise UserError(f"--keep expects a share above 0 and at most 1, but got {self.keep}")
        if not 1 <= self.neighbors < self.candidates:
            raise UserError(
                f"--neighbors expects 1 to {self.candidates - 1} (fewer than --candidates), but got {self.neighbors}"
            )
        seeds({"seed": self.seed})
        check_choices(self)

    kind = "random"

    @property
    def label(self) -> str:
        """A few letters for the pool's name."""
        return f"s{self.seed}"

    def identity(self) -> dict[str, Any]:
        """Return all that decides the result, as plain data."""
        return dataclasses.asdict(self) | {"states": self.states.identity()}


def collect(
    folder: Path,
    spec: EnvSpec,
    layout: Layout,
    recipe: RandomRecipe,
    *,
    progress: bool | None = None,
    executor: Executor | None = None,
) -> Pool:
    """Make the pool unless it is there already, and open it; progress bars by default only on a terminal.

    An executor runs chunks of candidates side by side; the pool is the same.

    Raises:
        UserError: The disk is full, an action is not finite, or the folder holds a pool that is broken or of other settings.
    """
    return find_or_make(folder, spec, layout, recipe, lambda: _make(folder, spec, layout, recipe, progress, executor))


def _make(
    folder: Path,
    spec: EnvSpec,
    layout: Layout,
    recipe: RandomRecipe,
    progress: bool | None,
    executor: Executor | None,
) -> None:
    start = time.perf_counter()
    kept_at_most = round(recipe.keep * recipe.candidates)
    row_bytes = behavior_bytes(layout, recipe.states) + 4 * layout.num_params * (recipe.store == "params")
    with new_folder(folder, kept_at_most * row_bytes) as temporary:
        sample = sample_states(spec, recipe.states, layout, recipe.prior, recipe.seed, progress=progress)
        box = (torch.tensor(spec.action_low), torch.tensor(spec.action_high))
        states = PolicyNetwork(layout, sample.mean, sample.std, *box).standardize(sample.states)
        probe = recipe.states.probe
        fingerprints = torch.empty(recipe.candidates, probe, layout.feature_size)
        draw = partial(act_table, recipe.prior, layout, recipe.seed, progress=progress, executor=executor)
        draw(np.arange(recipe.candidates), states[:probe], fingerprints, description="candidates")
        if not torch.isfinite(fingerprints).all():
            raise UserError("candidates take actions that are not finite: lower --prior.gain or --prior.bias_scale")
        distinct = first_of_each(fingerprints.flatten(1))
        if len(distinct) <= recipe.neighbors:
            raise UserError(
                f"only {len(distinct)} of {recipe.candidates} candidates behave differently, but novelty compares each "
                f"with {recipe.neighbors} neighbors: raise --candidates or --prior.gain, or lower --neighbors"
            )
        scores = novelty(fingerprints[distinct].flatten(1), recipe.neighbors, progress=progress)
        kept = most_novel(scores, recipe.keep)
        indices = distinct[kept].numpy()
        arrays = {"indices": indices, "states": sample.states, "novelty": scores[kept]}
        for name, array in {"fingerprints": fingerprints[distinct[kept]], **arrays}.items():
            write_array(temporary, name, np.asarray(array))
        del fingerprints
        with mapped_array(
            temporary, "actions", np.float16, len(indices), len(states) - probe, layout.feature_size
        ) as table:
            draw(indices, states[probe:], torch.from_numpy(table), description="actions")
        if recipe.store == "params":
            with mapped_array(temporary, "params", np.float32, len(indices), layout.num_params) as stored:
                for span, params in drawn_chunks(recipe.prior, layout, recipe.seed, indices):
                    stored[span] = params.numpy()
        kept_numbers = {
            "candidates": recipe.candidates, "distinct": len(distinct), "keep": recipe.keep, "kept": len(indices),
            "novelty_contrast": novelty_contrast(scores[kept], scores), "store": recipe.store,
            "states": dataclasses.asdict(recipe.states),
        }  # fmt: skip
        meta = common_meta(spec, layout, recipe, sample, kept_numbers)
        meta["params_checksum"] = params_checksum(Pool(temporary, meta, layout, recipe.prior, {"indices": indices}))
        write_meta(temporary, meta | {"collect_seconds": round(time.perf_counter() - start, 2)})
