"""From a growth to a pool folder: the state sample follows the policies, and everything says where it came from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.growth.outcomes import Embedding, whiten
from lightning_pz.growth.rounds import ORIGINS, Growth
from lightning_pz.growth.state_sample import follow
from lightning_pz.policy import PolicyNetwork
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.novelty import novelty
from lightning_pz.pool.recipe_identity import pool_identity
from lightning_pz.pool.sampling import act_on
from lightning_pz.pool.states import StateSample
from lightning_pz.pool.store import Pool, params_checksum, write_array, write_meta


def pool_bytes(spec: EnvSpec, recipe: GrownRecipe, params: int) -> int:
    """Return about how many bytes the finished pool takes, for the check of free space."""
    behavior = spec.action_size * (4 * recipe.states.probe + 2 * (recipe.states.total - recipe.states.probe))
    return recipe.size * (behavior + 4 * params + 4 * recipe.own_states * spec.observation_size + 200)


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
    """Write all arrays and `pool.json` of a grown pool into a folder.

    Args:
        folder: An empty, temporary one.
        growth: The finished growth.
        spec: The environment.
        network: What the policies share.
        recipe: Settings.
        sample: The state sample that the growth began with.
        embedding: Names the outcome coordinates.
        about: More for `pool.json`: names of the tasks, history, seconds.
        progress: Show a bar; by default only on a terminal.
    """
    archive, layout = growth.archive, network.layout
    if len(archive) <= recipe.neighbors:
        raise UserError(
            f"only {len(archive)} policies with different outcomes were found, but novelty compares each with "
            f"{recipe.neighbors} neighbors: raise --steps, or lower --neighbors"
        )
    whitening = whiten(archive.outcomes, embedding.scales)
    scores = novelty(torch.from_numpy(whitening(archive.outcomes)).float(), recipe.neighbors, progress=progress)
    first = torch.from_numpy(whitening(growth.first)).float()
    states = follow(sample, archive, recipe)
    standardized, probe = network.standardize(torch.from_numpy(states)), recipe.states.probe
    params = torch.from_numpy(archive.params)
    fingerprints = torch.empty(len(archive), probe, spec.action_size)
    act_on(layout, params, standardized[:probe], fingerprints)
    if not torch.isfinite(fingerprints).all():
        raise UserError("grown policies take actions that are not finite: lower --sigma or --prior.gain")
    actions = np.lib.format.open_memmap(
        folder / "actions.npy", mode="w+", dtype=np.float16, shape=(len(archive), len(states) - probe, spec.action_size)
    )
    act_on(layout, params, standardized[probe:], torch.from_numpy(actions))
    actions.flush()
    arrays = {
        "indices": archive.numbers, "states": states, "fingerprints": fingerprints.numpy(), "novelty": scores.numpy(),
        "params": archive.params, "outcomes": archive.outcomes, "visited": archive.visited,
        "origins": archive.origins, "directions": archive.directions, "rounds": archive.rounds,
        "lengths": archive.lengths, "returns": archive.returns, "functionals": growth.functionals,
    }  # fmt: skip
    for name, array in arrays.items():
        write_array(folder, name, array)
    meta: dict[str, Any] = {
        "recipe": recipe.kind,
        "identity": pool_identity(spec, layout, recipe),
        "env": dataclasses.asdict(spec),
        "layout": layout.to_dict(),
        "prior": dataclasses.asdict(recipe.prior),
        "states": dataclasses.asdict(recipe.states),
        "state_source": f"{sample.source} and visited",
        "seed": recipe.seed,
        "candidates": recipe.first,
        "distinct": len(archive),
        "keep": len(archive) / growth.played,
        "kept": len(archive),
        "neighbors": recipe.neighbors,
        # How far apart the kept policies' outcomes lie, over how far apart those of random policies lie.
        "novelty_contrast": float(scores.median() / novelty(first, recipe.neighbors, progress=False).median()),
        "store": "params",
        "observation_mean": sample.mean.tolist(),
        "observation_std": sample.std.tolist(),
        "versions": {m.__name__: m.__version__ for m in (np, torch, gymnasium, mujoco)},
        "growth": {
            "settings": recipe.identity(),
            "steps": growth.steps,
            "rounds": growth.rounds,
            "played": growth.played,
            "invalid": growth.invalid,
            "outcome_names": list(embedding.names),
            "left_out": [name for i, name in enumerate(embedding.names) if i not in whitening.kept],
            "origins": list(ORIGINS),
            **about,
        },
    }
    meta["params_checksum"] = params_checksum(Pool(folder, meta, layout, recipe.prior, {"params": archive.params}))
    meta["collect_seconds"] = about["seconds"]
    write_meta(folder, meta)
