"""Writes a finished growth as a pool folder, with a state sample that follows its policies."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.growth.outcomes import Embedding, fit_whitening
from lightning_pz.growth.playing import ORIGINS
from lightning_pz.growth.rounds import Growth
from lightning_pz.growth.state_sample import follow
from lightning_pz.policy import Layout, PolicyNetwork
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.novelty import novelty, novelty_contrast
from lightning_pz.pool.recipe_identity import common_meta
from lightning_pz.pool.sampling import act_on
from lightning_pz.pool.states import StateSample, behavior_bytes
from lightning_pz.pool.store import Pool, mapped_array, params_checksum, write_array, write_meta


def pool_bytes(layout: Layout, recipe: GrownRecipe) -> int:
    """Return about how many bytes the finished pool takes, for the check of free space."""
    own = 4 * layout.num_params + 4 * recipe.own_states * layout.observation_size + 200
    return recipe.size * (behavior_bytes(layout, recipe.states) + own)


@torch.no_grad()
def write_pool(
    folder: Path,
    growth: Growth,
    spec: EnvSpec,
    network: PolicyNetwork,
    recipe: GrownRecipe,
    sample: StateSample,
    embedding: Embedding,
    about: dict[str, Any],
    progress: bool | None = None,
) -> None:
    """Write all arrays and `pool.json` of a finished growth into an empty folder.

    `sample` is the one that the growth began with; `about` is more for `pool.json`: names of the tasks, history, seconds.
    """
    archive, layout = growth.archive, network.layout
    if len(archive) <= recipe.neighbors:
        raise UserError(
            f"only {len(archive)} policies with different outcomes were found, but novelty compares each with "
            f"{recipe.neighbors} neighbors: raise --steps, or lower --neighbors"
        )
    whitening = fit_whitening(archive.outcomes, embedding.scales)
    scores = novelty(torch.from_numpy(whitening(archive.outcomes)).float(), recipe.neighbors, progress=progress)
    first = torch.from_numpy(whitening(growth.first)).float()
    states = follow(sample, archive, recipe)
    standardized, probe = network.standardize(torch.from_numpy(states)), recipe.states.probe
    params = torch.from_numpy(archive.params)
    fingerprints = torch.empty(len(archive), probe, layout.feature_size)
    act_on(layout, params, standardized[:probe], fingerprints)
    if not torch.isfinite(fingerprints).all():
        raise UserError("grown policies take actions that are not finite: lower --sigma or --prior.gain")
    with mapped_array(folder, "actions", np.float16, len(archive), len(states) - probe, layout.feature_size) as actions:
        act_on(layout, params, standardized[probe:], torch.from_numpy(actions))
    arrays = archive.arrays()
    arrays |= {"indices": arrays.pop("numbers"), "states": states, "fingerprints": fingerprints.numpy()}
    arrays |= {"novelty": scores.numpy(), "functionals": growth.functionals}
    for name, array in arrays.items():
        write_array(folder, name, array)
    contrast = novelty_contrast(scores, novelty(first, recipe.neighbors, progress=False))
    kept_numbers = {
        "candidates": recipe.first, "distinct": len(archive), "keep": len(archive) / growth.played, "kept": len(archive),
        # How far apart the kept policies' outcomes lie, over how far apart those of random policies lie.
        "novelty_contrast": contrast, "store": "params", "states": dataclasses.asdict(recipe.states),
    }  # fmt: skip
    meta = common_meta(spec, layout, recipe, sample, kept_numbers)
    meta["state_source"] = f"{sample.source} and visited"
    meta["growth"] = {
        "settings": recipe.identity(),
        **{name: getattr(growth, name) for name in ("steps", "rounds", "played", "invalid")},
        "state_steps": sample.steps,  # beside those of the growth
        "outcome_names": list(embedding.names),
        "left_out": [name for i, name in enumerate(embedding.names) if i not in whitening.kept],
        "origins": list(ORIGINS),
        **about,
    }
    meta["params_checksum"] = params_checksum(Pool(folder, meta, layout, recipe.prior, {"params": archive.params}))
    write_meta(folder, meta | {"collect_seconds": about["seconds"]})
