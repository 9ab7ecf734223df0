"""The random recipe: draw candidates, compare their actions, keep the most novel."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gymnasium
import mujoco
import numpy as np
import torch

from lightning_pz.common.checks import check_choices, seeds
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone, new_folder
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.policy import Layout, PolicyNetwork, Prior
from lightning_pz.pool.novelty import first_of_each, most_novel, novelty
from lightning_pz.pool.recipe_identity import check_made_by, pool_identity
from lightning_pz.pool.sampling import act_table, drawn_chunks
from lightning_pz.pool.states import StateCounts, sample_states
from lightning_pz.pool.store import Pool, params_checksum, read_pool, write_array, write_meta


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
        if self.candidates < 10:
            raise UserError(f"--candidates expects at least 10 policies, but got {self.candidates}")
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


def collect(folder: Path, spec: EnvSpec, layout: Layout, recipe: RandomRecipe, *, progress: bool | None = None) -> Pool:
    """Make the pool unless it is there already, and open it; progress bars by default only on a terminal.

    Raises:
        UserError: The disk is full, an action is not finite, or the folder holds a pool that is broken or of other settings.
    """
    with alone(folder):
        if not folder.exists():
            _make(folder, spec, layout, recipe, progress)
    pool = read_pool(folder)
    check_made_by(pool, spec, layout, recipe)
    return pool


def _make(folder: Path, spec: EnvSpec, layout: Layout, recipe: RandomRecipe, progress: bool | None) -> None:
    start = time.perf_counter()
    kept_at_most = round(recipe.keep * recipe.candidates)
    row_bytes = spec.action_size * (4 * recipe.states.probe + 2 * (recipe.states.total - recipe.states.probe))
    row_bytes += 4 * layout.num_params * (recipe.store == "params")
    with new_folder(folder, kept_at_most * row_bytes) as temporary:
        sample = sample_states(spec, recipe.states, layout, recipe.prior, recipe.seed, progress=progress)
        network = PolicyNetwork(
            layout, sample.mean, sample.std, torch.tensor(spec.action_low), torch.tensor(spec.action_high)
        )
        states = network.standardize(sample.states)
        probe = recipe.states.probe
        candidates = np.arange(recipe.candidates)
        fingerprints = torch.empty(recipe.candidates, probe, spec.action_size)
        act_table(
            recipe.prior, layout, recipe.seed, candidates, states[:probe], fingerprints,
            description="candidates", progress=progress,
        )  # fmt: skip
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
        indices = candidates[distinct[kept].numpy()]
        contrast = float(scores[kept].median() / scores.median())
        arrays = {"indices": indices, "states": sample.states, "novelty": scores[kept]}
        for name, array in {**arrays, "fingerprints": fingerprints[distinct[kept]]}.items():
            write_array(temporary, name, np.asarray(array))
        del fingerprints
        actions = np.lib.format.open_memmap(
            temporary / "actions.npy", mode="w+", dtype=np.float16,
            shape=(len(indices), len(states) - probe, spec.action_size),
        )  # fmt: skip
        act_table(
            recipe.prior, layout, recipe.seed, indices, states[probe:], torch.from_numpy(actions),
            description="actions", progress=progress,
        )  # fmt: skip
        actions.flush()
        if recipe.store == "params":
            stored = np.lib.format.open_memmap(
                temporary / "params.npy", mode="w+", dtype=np.float32, shape=(len(indices), layout.num_params)
            )
            for span, params in drawn_chunks(recipe.prior, layout, recipe.seed, indices):
                stored[span] = params.numpy()
            stored.flush()
        meta: dict[str, Any] = {
            "recipe": recipe.kind,
            "identity": pool_identity(spec, layout, recipe),
            "env": dataclasses.asdict(spec),
            "layout": layout.to_dict(),
            "prior": dataclasses.asdict(recipe.prior),
            "states": dataclasses.asdict(recipe.states),
            "state_source": sample.source,
            "seed": recipe.seed,
            "candidates": recipe.candidates,
            "distinct": len(distinct),
            "keep": recipe.keep,
            "kept": len(indices),
            "neighbors": recipe.neighbors,
            "novelty_contrast": contrast,
            "store": recipe.store,
            "observation_mean": sample.mean.tolist(),
            "observation_std": sample.std.tolist(),
            "versions": {m.__name__: m.__version__ for m in (np, torch, gymnasium, mujoco)},
        }
        meta["params_checksum"] = params_checksum(Pool(temporary, meta, layout, recipe.prior, {"indices": indices}))
        meta["collect_seconds"] = round(time.perf_counter() - start, 2)
        write_meta(temporary, meta)
