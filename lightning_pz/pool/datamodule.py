"""A pool as a LightningDataModule: made or found, opened, split by policy and by state, and described to the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from lightning_pz.common.checks import RecipeKind, at_least, one_of, seeds
from lightning_pz.common.errors import UserError
from lightning_pz.envs.policy_layout import policy_layout
from lightning_pz.envs.presets import EnvConfig, PolicyConfig
from lightning_pz.envs.specs import env_spec
from lightning_pz.pool.batches import InOrder, Part, PolicyBatch, TrainBatches, split_rows
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.of_checkpoint import REPEATED, describe_pool
from lightning_pz.pool.recipe import RandomRecipe, collect
from lightning_pz.pool.recipe_identity import check_pool, known_identity, pool_folder, pool_identity
from lightning_pz.pool.states import StateCounts
from lightning_pz.pool.store import Pool, read_meta, read_pool

HeldOut = Literal["policies", "climbs"]


class PolicyPoolDataModule(L.LightningDataModule):
    """Pool, batches and splits: policies and states are both held out.

    Args:
        env: The environment.
        policy: Shape of the policies.
        logs: Folder under which pools are kept, in `pools/`.
        pool: A pool folder to use as it is; made from the recipe, or found again, if null.
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
            policy has siblings among the training policies.
        with_params: Serve weights too; only the parameters encoder and loss read them.
        with_visited: Serve states that policies visited themselves; only the loss `behavior_visited` reads them.
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
        self.given = pool is not None
        self.own = grown if recipe == "grown" else random
        self.spec = env_spec(env.id, env.horizon)
        self.layout = policy_layout(self.spec, policy)
        if pool is None:
            self.own.states.check_source(self.spec)
            parent = Path(logs) / "pools"
            self.folder = pool_folder(parent, env.name, policy.name, self.spec, self.layout, self.own)
        else:
            self.folder = Path(pool)
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
        return {key: known[key] for key in ("layout", "recipe")}

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
        self._open() if self.given else self.make_pool()

    def _open(self, verify: bool = True) -> Pool:
        pool = read_pool(self.folder, verify=verify)
        check_pool(pool, self.spec, self.layout)
        if self.with_visited and "visited" not in pool.arrays:
            raise UserError(
                f"--model.loss behavior_visited needs the states that each policy visited, but {self.folder} is a random "
                "pool, which does not hold them: use --data.recipe grown, or --model.loss behavior"
            )
        pool.check_regeneration()  # before the work: the linear references read weights after it
        return pool

    def setup(self, stage: str | None = None) -> None:
        """Open the pool and split it, once."""
        if self.opened is not None:
            return
        self.opened = pool = self._open(verify=False)
        rows = split_rows(pool, **self._split)
        counts = StateCounts(**pool.meta["states"])
        columns = {part: np.arange(span.start, span.stop) for part, span in counts.slices().items()}
        # Training FVU is measured on as many training states as there are held-out ones; all of them would make
        # measuring it cost more than training.
        spread = columns["train"][np.linspace(0, counts.train - 1, min(counts.train, counts.val)).astype(int)]
        states = pool.network.standardize(torch.from_numpy(pool.arrays["states"].copy()))
        self.train = Part(pool, rows["train"], columns["train"], states, self.with_params, self.with_visited)
        self.val, self.test = (Part(pool, rows[p], columns[p], states, self.with_params) for p in ("val", "test"))
        self.train_measured = Part(pool, rows["train"][: len(rows["val"])], spread, states, self.with_params)
        # Training policies on held-out states, and the reverse: what linear references are fitted to.
        self.train_on_val = Part(pool, rows["train"], columns["val"], states)
        self.val_on_train = Part(pool, rows["val"], columns["train"], states)

    @property
    def pool(self) -> Pool:
        """The opened pool."""
        assert self.opened is not None, "setup comes first"
        return self.opened

    def description(self) -> dict[str, Any]:
        """Return what a model must know of the pool, as plain data that a checkpoint can hold."""
        meta = self.pool.meta
        variance = float(self.train_measured.all_actions().var(0).mean())
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
        }

    def train_dataloader(self) -> DataLoader[PolicyBatch]:
        """Serve random policies on a random state batch."""
        sizes = (self.batch_size, self.states_per_step, self.steps_per_epoch, self.seed)
        return _loader(self.train, TrainBatches(len(self.train), len(self.train.states), *sizes))

    def val_dataloader(self) -> list[DataLoader[PolicyBatch]]:
        """Serve held-out policies on held-out states, then as many training policies on training states."""
        return [_loader(part, InOrder(len(part), len(part.states))) for part in (self.val, self.train_measured)]

    def test_dataloader(self) -> DataLoader[PolicyBatch]:
        """Serve policies and states that decided nothing."""
        return _loader(self.test, InOrder(len(self.test), len(self.test.states)))

    def latent_dataloader(self, policies: int) -> DataLoader[PolicyBatch]:
        """Serve training policies for latent statistics; their states and actions do not matter."""
        return _loader(self.train, InOrder(min(policies, len(self.train)), 1))


def _loader(part: Part, sampler: Sampler[Any]) -> DataLoader[PolicyBatch]:
    return DataLoader(part, sampler=sampler, batch_size=None, num_workers=0)
