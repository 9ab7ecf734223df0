"""An archive of policies, of `ribs` or anything that writes its form, as a pool."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.common.checks import at_least, seeds
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import new_folder
from lightning_pz.common.identity import first_difference
from lightning_pz.doors.archive_files import ARCHIVE_ABOUT, FIELDS, read_about, read_solutions
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.policy import Layout, PolicyNetwork, Prior
from lightning_pz.pool.novelty import first_of_each, novelty
from lightning_pz.pool.recipe_identity import common_meta, find_or_make
from lightning_pz.pool.sampling import act_on
from lightning_pz.pool.states import StateCounts, behavior_bytes, sample_states
from lightning_pz.pool.store import Pool, mapped_array, params_checksum, write_array, write_meta


@dataclass(frozen=True)
class ArchiveRecipe:
    """How an archive becomes a pool; the content of the archive and all but its place are part of the pool's name.

    Args:
        archive: File or folder with the policies: an .npz with the field `solution`, the .csv of an ArchiveDataFrame, or a
            folder with archive.npz or archive.csv. Each solution holds the weights of a policy in the order of its layout.
        biases: Whether solutions hold biases; if not, they are 0.
        neighbors: Nearest neighbors that novelty averages over.
        seed: Seed of the state sample.
        prior: Distribution of random policies for comparison, and the unit of weights.
        states: Sizes of the parts of the state sample, for which random actions and the archive's policies are played.
    """

    archive: str | None = None
    biases: bool = True
    neighbors: int = 15
    seed: int = 0
    prior: Prior = field(default_factory=Prior)
    states: StateCounts = field(default_factory=StateCounts)

    def __post_init__(self) -> None:
        if not self.archive:
            raise UserError("--recipe archive takes its policies from a file or folder: give --archive PATH")
        at_least(1, {"neighbors": self.neighbors})
        seeds({"seed": self.seed})

    kind = "archive"

    @property
    def label(self) -> str:
        """A few letters for the pool's name."""
        return f"archive-s{self.seed}"

    @property
    def path(self) -> Path:
        """Where the archive lies."""
        return Path(str(self.archive))

    @cached_property
    def solutions(self) -> Float[np.ndarray, "policies numbers"]:
        """The solutions of the archive, (N, D) float32."""
        return read_solutions(self.path)

    @cached_property
    def about(self) -> dict[str, Any]:
        """What `export --pool` wrote beside the solutions: layout, environment and statistics; nothing beside others."""
        folder = self.path.parent if self.path.name == FIELDS else self.path
        return read_about(folder) or {}

    def identity(self) -> dict[str, Any]:
        """Return all that decides the result, as plain data."""
        plain = {name: value for name, value in dataclasses.asdict(self).items() if name != "archive"}
        content = hashlib.sha256(np.ascontiguousarray(self.solutions).tobytes()).hexdigest()
        statistics = {name: self.about[name] for name in ("observation_mean", "observation_std") if self.about}
        return plain | {"states": self.states.identity(), "solutions": content, **statistics}

    def network(self, spec: EnvSpec, layout: Layout) -> PolicyNetwork:
        """Return the common part of the policies: observations as they are, unless the archive says how to standardize them.

        Raises `UserError` if the archive says that its policies are of another environment or layout.
        """
        mean, std = torch.zeros(spec.observation_size), torch.ones(spec.observation_size)
        if self.about:
            if (told := first_difference({"env": self.about["env"]}, {"env": spec.identity()})) is not None:
                raise UserError(
                    f"--archive {self.archive} holds policies for another environment than --env asks for ({told}): ask for "
                    f"{self.about['env']['id']}, horizon and all"
                )
            if (its := Layout.from_dict(self.about["layout"])) != layout:
                raise UserError(
                    f"--archive {self.archive} holds policies of widths {its.sizes} ({its.activation}, {its.head.kind} head), "
                    f"but --policy asks for {layout.sizes} ({layout.activation}, {layout.head.kind} head): ask for that size"
                )
            mean, std = torch.tensor(self.about["observation_mean"]), torch.tensor(self.about["observation_std"])
        return PolicyNetwork(layout, mean, std, torch.tensor(spec.action_low), torch.tensor(spec.action_high))

    def params(self, layout: Layout) -> Float[Tensor, "policies params"]:
        """Return the weights of all policies; `UserError` unless the layout has as many as solutions have numbers."""
        places = np.flatnonzero(_is_weight(layout)) if not self.biases else np.arange(layout.num_params)
        found = self.solutions
        if found.shape[1] != len(places):
            what = "weights" if self.biases else "weights without biases"
            other = int(_is_weight(layout).sum())
            hint = " (--biases false, if they hold none)" if self.biases and found.shape[1] == other else ""
            raise UserError(
                f"--policy expects {len(places)} {what} of widths {layout.sizes}, but the solutions of {self.archive} have "
                f"{found.shape[1]} numbers: give the size of their network with --policy or --policy.hidden{hint}"
            )
        params = torch.zeros(len(found), layout.num_params)
        params[:, places] = torch.from_numpy(found)
        return params


def pool_of_archive(
    folder: Path, spec: EnvSpec, layout: Layout, recipe: ArchiveRecipe, *, progress: bool | None = None
) -> Pool:
    """Make the pool unless it is there already, and open it; `indices` of its policies are their places in the archive.

    Of solutions that act alike the first is kept. Such a pool has no episodes, so what needs those of a growth refuses it.

    Raises:
        UserError: No archive, another number of weights than the layout has, solutions that are not finite or nearly all act
            alike, or a folder that holds a pool that is broken or of other settings.
    """
    network, params = recipe.network(spec, layout), recipe.params(layout)
    return find_or_make(folder, spec, layout, recipe, lambda: _make(folder, spec, network, params, recipe, progress))


@torch.no_grad()
def _make(
    folder: Path, spec: EnvSpec, network: PolicyNetwork, params: Tensor, recipe: ArchiveRecipe, progress: bool | None
) -> None:
    start, layout, probe = time.perf_counter(), network.layout, recipe.states.probe
    needed = len(params) * (behavior_bytes(layout, recipe.states) + 4 * layout.num_params)
    sample = sample_states(
        spec, recipe.states, layout, recipe.prior, recipe.seed, given=(network, params), progress=progress
    )
    states = network.standardize(sample.states)
    fingerprints = torch.empty(len(params), probe, layout.feature_size)
    act_on(layout, params, states[:probe], fingerprints)
    if not torch.isfinite(fingerprints).all():
        raise UserError(f"--archive {recipe.archive} holds policies whose actions are not finite: leave those out")
    kept = first_of_each(fingerprints.flatten(1))
    if len(kept) <= recipe.neighbors:
        raise UserError(
            f"only {len(kept)} of {len(params)} solutions of {recipe.archive} behave differently, but novelty compares each "
            f"with {recipe.neighbors} neighbors: give a larger archive, or lower --neighbors"
        )
    fingerprints, params = fingerprints[kept], params[kept]
    with new_folder(folder, needed) as temporary:
        with mapped_array(
            temporary, "actions", np.float16, len(kept), len(states) - probe, layout.feature_size
        ) as actions:
            act_on(layout, params, states[probe:], torch.from_numpy(actions))
        scores = novelty(fingerprints.flatten(1), recipe.neighbors, progress=progress)
        arrays = {"indices": kept, "states": sample.states, "novelty": scores, "fingerprints": fingerprints}
        for name, array in (arrays | {"params": params}).items():
            write_array(temporary, name, array.numpy())
        counts = {
            "candidates": len(recipe.solutions), "distinct": len(kept), "keep": len(kept) / len(recipe.solutions),
            "kept": len(kept), "novelty_contrast": None, "store": "params", "states": dataclasses.asdict(recipe.states),
        }  # fmt: skip
        own = dataclasses.replace(sample, mean=network.observation_mean, std=network.observation_std)
        meta = common_meta(spec, layout, recipe, own, counts)
        meta["archive"] = {"name": recipe.path.name, "standardized_by": ARCHIVE_ABOUT if recipe.about else None}
        drawn = Pool(temporary, meta, layout, recipe.prior, {"params": params.numpy()})
        meta["params_checksum"] = params_checksum(drawn)
        write_meta(temporary, meta | {"collect_seconds": round(time.perf_counter() - start, 2)})


def _is_weight(layout: Layout) -> np.ndarray:
    """Return which numbers of the flat vector belong to a weight and not to a bias, (P,)."""
    sizes = layout.split_sizes
    return np.repeat(np.arange(len(sizes)) % 2 == 0, sizes)
