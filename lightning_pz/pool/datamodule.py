"""A pool as a LightningDataModule: made or found, opened, split by policy and by state, and described to the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import lightning as L
import numpy as np
from torch.utils.data import DataLoader, Sampler

from lightning_pz.common.checks import RecipeKind, at_least, one_of, seeds
from lightning_pz.common.errors import UserError
from lightning_pz.envs.policy_layout import policy_layout
from lightning_pz.envs.policy_sizes import sizes_named
from lightning_pz.envs.presets import EnvConfig, PolicyConfig
from lightning_pz.envs.specs import env_spec
from lightning_pz.policy import Layout
from lightning_pz.pool.batches import InOrder, Part, PolicyBatch, SideBySide, Together, TrainBatches
from lightning_pz.pool.borrowed import on_states_of
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.of_checkpoint import REPEATED, describe_pool
from lightning_pz.pool.recipe import RandomRecipe, collect
from lightning_pz.pool.recipe_identity import check_pool, known_identity, pool_folder, pool_identity
from lightning_pz.pool.several import check_sizes, describe_size, given_folders, split_pool
from lightning_pz.pool.store import Pool, read_meta, read_pool
from lightning_pz.pool.unplayed import unplayed

HeldOut = Literal["policies", "climbs"]


class PolicyPoolDataModule(L.LightningDataModule):
    """Pool, batches and splits: policies and states are both held out.

    Args:
        env: The environment.
        policy: Shape of the policies.
        logs: Folder under which pools are kept, in `pools/`.
        pool: A pool folder to use as it is; made from the recipe, or found again, if null. Several with commas between
            them, one for each size of policy, the first of the size of `policy`, share one encoder; each gets a decoder.
        recipe: How a missing pool is made: `random`, the paper's, or `grown`, by reward-free search, which all presets
            but mountaincar choose.
        random: Settings of the random recipe.
        grown: Settings of the grown recipe.
        batch_size: Policies per training step and process.
        states_per_step: States per training step, at most the training states.
        steps_per_epoch: Training steps between two validations.
        val_share: Share of the policies held out to stop training and choose the checkpoint.
        test_share: Share of the policies held out for the final measurement alone.
        seed: Seed of the order of training batches.
        split_seed: Seed of the split, apart from `seed` so that runs share their held-out policies.
        held_out: What is held out together: `policies`, any of them, or the `climbs` of a grown pool, so that no held-out
            policy shares its climb with training policies. Climbs begin at policies of others, so they are related all the
            same, and few: intervals are of those that are held out.
        with_params: Serve weights too; only the parameters encoder and loss read them.
        with_visited: Serve states that policies visited themselves; only the loss `behavior_visited` reads them.
        decodes: Further sizes of policy that get a decoder, trained on the behavior of the pools alone: presets or widths
            such as 64-64, with commas between them.
    """

    def __init__(
        self,
        env: EnvConfig,
        policy: PolicyConfig,
        logs: str = "logs",
        pool: str | None = None,
        recipe: RecipeKind = "random",
        random: RandomRecipe = RandomRecipe(),  # noqa: B008  frozen, and shown by --help
        grown: GrownRecipe = GrownRecipe(),  # noqa: B008
        batch_size: int = 256,
        states_per_step: int = 64,
        steps_per_epoch: int = 100,
        val_share: float = 0.05,
        test_share: float = 0.05,
        seed: int = 0,
        split_seed: int = 0,
        held_out: HeldOut = "policies",
        with_params: bool = False,
        with_visited: bool = False,
        decodes: str | None = None,
    ) -> None:
        super().__init__()
        one_of("data.recipe", recipe, get_args(RecipeKind))
        one_of("data.held_out", held_out, get_args(HeldOut))
        if held_out == "climbs" and pool is None and (recipe == "random" or grown.emitter == "iso_line"):
            raise UserError(
                "--data.held_out climbs goes with --data.recipe grown and an emitter that climbs, for no other pool has "
                "climbs: leave it out, or give those"
            )
        sizes = {"batch_size": batch_size, "states_per_step": states_per_step, "steps_per_epoch": steps_per_epoch}
        at_least(1, {f"data.{name}": value for name, value in sizes.items()})
        seeds({"data.seed": seed, "data.split_seed": split_seed})
        for name, share in (("val_share", val_share), ("test_share", test_share)):
            if not 0 < share < 0.5:
                raise UserError(f"--data.{name} expects a share between 0 and 0.5, but got {share}")
        self.env, self.policy, self.recipe, self.random, self.grown = env, policy, recipe, random, grown
        self.batch_size, self.states_per_step, self.steps_per_epoch = batch_size, states_per_step, steps_per_epoch
        self.val_share, self.test_share, self.seed, self.split_seed = val_share, test_share, seed, split_seed
        self.held_out, self.with_params, self.with_visited = held_out, with_params, with_visited
        self.decoded, self.further = sizes_named(decodes, policy), list[Path]()
        self.given = pool is not None
        self.own = grown if recipe == "grown" else random
        self.spec = env_spec(env.id, env.horizon, env.kwargs)
        self.layout = policy_layout(self.spec, policy)
        if pool is None:
            self.own.states.check_source(self.spec)
            parent = Path(logs) / "pools"
            self.folder = pool_folder(parent, env.name, policy.name, self.spec, self.layout, self.own)
        else:
            self.folder, *self.further = given_folders(pool)
        at_least(1 + len(self.further), {"data.batch_size": batch_size})
        self._tables = Path(logs) / "pools"
        # What makes a grown pool is above this package; who uses this module sets it.
        self.make_pool: Callable[[], Pool] = self._make_random
        self.opened: Pool | None = None

    @property
    def probe_count(self) -> int:
        """Probe states of the pool."""
        return int(read_meta(self.folder)["states"]["probe"]) if self.given else self.own.states.probe

    def pool_identity(self) -> dict[str, Any]:
        """Return layout and recipe of the pool, as plain data; those of a given pool from its `pool.json`."""
        own = pool_identity(self.spec, self.layout, self.own)
        known = known_identity(read_meta(self.folder)) if self.given else own
        further = [known_identity(read_meta(folder)) for folder in self.further]
        first, *others = [{key: one[key] for key in ("layout", "recipe")} for one in (known, *further)]
        sizes = {"others": others, "decodes": [self._layout_of(size).to_dict() for size in self.decoded]}
        return first | {key: value for key, value in sizes.items() if value}

    def check_sizes(self) -> None:
        """Raise `UserError` unless the pools and the sizes to decode are all of different sizes."""
        check_sizes(self.layout, self.spec, self.policy, self.further, self.decoded)

    def _layout_of(self, size: PolicyConfig) -> Layout:
        return dataclasses.replace(self.layout, hidden=tuple(size.hidden), activation=size.activation)

    def _make_random(self) -> Pool:
        if self.recipe != "random":
            raise ValueError(f"make_pool must be set to what makes a {self.recipe} pool")
        return collect(self.folder, self.spec, self.layout, self.random)

    @property
    def _split(self) -> dict[str, Any]:
        """Arguments of `split_rows`, as a checkpoint keeps them; `held_out` only where it is not the default, as ever."""
        shares = {"val_share": self.val_share, "test_share": self.test_share, "split_seed": self.split_seed}
        return shares | ({} if self.held_out == "policies" else {"held_out": self.held_out})

    def prepare_data(self) -> None:
        """Make the pool if it is missing; `UserError` if a given one is missing, broken or of other settings."""
        first = self._open() if self.given else self.make_pool()
        for folder in self.further:
            pool = self._open_further(folder)
            if self.with_visited and (own := pool.arrays["visited"].shape[1]) != first.arrays["visited"].shape[1]:
                raise UserError(
                    f"--model.loss behavior_visited expects as many states of each policy's own in all pools, but {folder} "
                    f"keeps {own} and {first.folder} {first.arrays['visited'].shape[1]}: grow one with another --own_states"
                )
            on_states_of(pool, first, self._tables)

    def _open(self, verify: bool = True) -> Pool:
        pool = read_pool(self.folder, verify=verify)
        check_pool(pool, self.spec, self.layout)
        return self._checked(pool)

    def _open_further(self, folder: Path, verify: bool = True) -> Pool:
        pool = read_pool(folder, verify=verify)
        check_pool(pool, self.spec, pool.layout)
        return self._checked(pool)

    def _checked(self, pool: Pool) -> Pool:
        if self.with_visited and "visited" not in pool.arrays:
            raise UserError(
                "--model.loss behavior_visited needs the states that each policy visited, but "
                f"{pool.folder} {unplayed(pool.meta)}: use --data.recipe grown, or "
                "--model.loss behavior"
            )
        pool.check_regeneration()  # before the work: the linear references read weights after it
        return pool

    def setup(self, stage: str | None = None) -> None:
        """Open the pools and split them, once."""
        if self.opened is not None:
            return
        self.opened = pool = self._open(verify=False)
        further = [on_states_of(self._open_further(one, verify=False), pool, self._tables) for one in self.further]
        self.splits = [
            split_pool(one, pool, self._split, self.with_params, self.with_visited) for one in (pool, *further)
        ]
        first = self.splits[0]
        self.train, self.val, self.test, self.train_measured = first.train, first.val, first.test, first.train_measured

    @property
    def pool(self) -> Pool:
        """The opened pool."""
        assert self.opened is not None, "setup comes first"
        return self.opened

    def description(self) -> dict[str, Any]:
        """Return what a model must know of the pool, as plain data that a checkpoint can hold."""
        meta = self.pool.meta
        variance = float(np.mean([float(one.train_measured.all_actions().var(0).mean()) for one in self.splits]))
        if not variance > 0:
            raise UserError(f"all policies of {self.pool.folder} act alike: raise --data.random.prior.gain")
        return {
            **{key: meta[key] for key in REPEATED},
            "env_name": self.env.name,
            "probe_states": self.pool.arrays["states"][: meta["states"]["probe"]].tolist(),
            "action_variance": variance,
            "policy": self.policy.name,
            "seed": self.seed,
            # Enough to find the pool again, and which of its policies were held out.
            "pool": {**describe_pool(self.pool), "split": self._split},
            **({"others": others} if (others := self._others()) else {}),
        }

    def _others(self) -> list[dict[str, Any]]:
        """Return what differs for further sizes; one without a pool takes statistics and prior of the first."""
        kept = {key: self.pool.meta[key] for key in REPEATED if key not in ("env", "layout")}
        alone = [
            {**kept, "layout": self._layout_of(size).to_dict(), "policy": size.name, "pool": None}
            for size in self.decoded
        ]
        return [*(describe_size(one.pool, self._split) for one in self.splits[1:]), *alone]

    def train_dataloader(self) -> DataLoader[PolicyBatch]:
        """Serve random policies, as many of each pool, on a random state batch."""
        shares = [len(part) for part in np.array_split(np.arange(self.batch_size), len(self.splits))]
        rest = (self.states_per_step, self.steps_per_epoch, self.seed)
        orders = [
            TrainBatches(len(one.train), len(one.train.states), share, *rest)
            for one, share in zip(self.splits, shares, strict=True)
        ]
        return _loader(Together([one.train for one in self.splits]), SideBySide(orders))

    def val_dataloader(self) -> list[DataLoader[PolicyBatch]]:
        """Serve held-out policies on held-out states, pool by pool, then as many training policies on training states."""
        return [_in_order(one.val) for one in self.splits] + [_in_order(one.train_measured) for one in self.splits]

    def test_dataloader(self) -> list[DataLoader[PolicyBatch]]:
        """Serve policies and states that decided nothing, pool by pool."""
        return [_in_order(one.test) for one in self.splits]

    def latent_policies(self, most: int) -> int:
        """Return how many of at most `most` training policies `latent_dataloader` serves: as many of each pool."""
        return len(self.splits) * min(most // len(self.splits), *(len(one.train) for one in self.splits))

    def latent_dataloader(self, policies: int) -> DataLoader[PolicyBatch]:
        """Serve training policies for latent statistics; their states and actions do not matter."""
        each = self.latent_policies(policies) // len(self.splits)
        orders = [InOrder(each, 1) for _ in self.splits]
        return _loader(Together([one.train for one in self.splits]), SideBySide(orders))


def _in_order(part: Part) -> DataLoader[PolicyBatch]:
    return _loader(part, InOrder(len(part), len(part.states)))


def _loader(part: Part | Together, sampler: Sampler[Any]) -> DataLoader[PolicyBatch]:
    return DataLoader(part, sampler=sampler, batch_size=None, num_workers=0)
