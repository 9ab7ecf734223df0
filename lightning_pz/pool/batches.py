"""Batches of policies and states cut from whole arrays, and the orders in which training and tests serve them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lightning_pz.common.errors import UserError
from lightning_pz.policy import PolicyNetwork, act_each
from lightning_pz.pool.store import Pool

_EVAL_BATCH = 256


class PolicyBatch(NamedTuple):
    """Policies with their behavior features on the states of a step: of a `tanh` head actions in -1..1, and A is F."""

    fingerprints: Tensor  # features on the probe states, (N, M, F)
    states: Tensor  # standardized, on which behavior is compared, (S', O)
    actions: Tensor  # the policies' own there, (N, S', F)
    mean_actions: Tensor  # the mean policy's there, (S', F)
    params: Tensor  # flat weights, (N, P); (N, 0) where they are not needed
    visited: Tensor  # standardized states that each policy visited itself, (N, m, O); (N, 0, O) where not needed
    visited_actions: Tensor  # its features there, (N, m, F)


class Part(Dataset[PolicyBatch]):
    """Some policies on some states; an item is a whole batch, cut by (policy positions, state positions)."""

    def __init__(
        self,
        pool: Pool,
        rows: np.ndarray,
        columns: np.ndarray,
        states: Tensor,
        with_params: bool = False,
        with_visited: bool = False,
        network: PolicyNetwork | None = None,
    ) -> None:
        self.pool, self.rows, self.with_params, self.with_visited = pool, rows, with_params, with_visited
        # Whose statistics standardize the states that are served; policies of another pool act by their own all the same.
        self.network = network or pool.network
        self.own_network = pool.network
        self.all_states, self.states = states, states[columns]
        self.columns = columns - pool.meta["states"]["probe"]  # actions are not kept on the probe states
        self.mean = torch.from_numpy(self._actions(rows[:20_000], np.arange(len(self.states))).mean(0))

    def on_states_of(self, other: Part) -> Part:
        """Return the policies of this part on the states of another, without weights."""
        probe = self.pool.meta["states"]["probe"]
        return Part(self.pool, self.rows, other.columns + probe, self.all_states, network=self.network)

    def _actions(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return self.pool.arrays["actions"][rows[:, None], self.columns[columns]].astype(np.float32)

    def all_actions(self, policies: int | None = None) -> Float[Tensor, "policies states action"]:
        """Return the actions of the first policies of this part on all its states."""
        return torch.from_numpy(self._actions(self.rows[:policies], np.arange(len(self.states))))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: tuple[np.ndarray, np.ndarray]) -> PolicyBatch:
        positions, columns = index
        rows = self.rows[positions]
        return PolicyBatch(
            torch.from_numpy(self.pool.arrays["fingerprints"][rows]),
            self.states[columns],
            torch.from_numpy(self._actions(rows, columns)),
            self.mean[columns],
            self.pool.params(rows) if self.with_params else torch.empty(len(rows), 0),
            *self._visited(rows),
        )

    def _visited(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the states that policies visited themselves, (N, m, O), and what they did there, (N, m, A)."""
        layout = self.pool.layout
        if not self.with_visited:
            return torch.empty(len(rows), 0, layout.observation_size), torch.empty(len(rows), 0, layout.feature_size)
        raw = torch.from_numpy(self.pool.arrays["visited"][rows])
        actions = act_each(layout, self.pool.params(rows), self.own_network.standardize(raw))
        return self.network.standardize(raw), actions


class Together(Dataset[PolicyBatch]):
    """Policies of several pools on the same states; an item is a batch of some of each, one pool after another."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)

    def __getitem__(self, index: tuple[Sequence[np.ndarray], np.ndarray]) -> PolicyBatch:
        positions, columns = index
        batches = [part[(own, columns)] for part, own in zip(self.parts, positions, strict=True)]
        if len(batches) == 1:
            return batches[0]
        shared = {name: getattr(batches[0], name) for name in ("states", "mean_actions")}
        of_policies = [name for name in PolicyBatch._fields if name not in shared]
        return PolicyBatch(
            **shared, **{name: torch.cat([getattr(batch, name) for batch in batches]) for name in of_policies}
        )


class SideBySide(Sampler[tuple[list[np.ndarray], np.ndarray]]):
    """The orders of several pools side by side, step by step; the states of a step are those of the first."""

    def __init__(self, samplers: Sequence[TrainBatches | InOrder]) -> None:
        self.samplers = list(samplers)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        for sampler in self.samplers:
            if isinstance(sampler, TrainBatches):
                sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.samplers[0])

    def __iter__(self) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
        for step in zip(*self.samplers, strict=True):
            yield [positions for positions, _ in step], step[0][1]


class TrainBatches(Sampler[tuple[np.ndarray, np.ndarray]]):
    """Random policies, each once before any comes again, and a fresh random state batch at every step.

    Step s is a pure function of (seed, s), so a resumed run sees what a straight one sees. Under DDP each process
    takes its share of a step's policies and all of its states.
    """

    def __init__(self, policies: int, states: int, batch: int, states_per_step: int, steps: int, seed: int) -> None:
        self.policies, self.states, self.batch = policies, states, batch
        self.states_per_step, self.steps, self.seed, self.epoch = states_per_step, steps, seed, 0
        self.ranks, self.rank = 1, 0
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            self.ranks, self.rank = torch.distributed.get_world_size(), torch.distributed.get_rank()

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def _generator(self, stream: int, number: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(stream, number)))

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        whole = self.batch * self.ranks
        orders: dict[int, np.ndarray] = {}
        for step in range(self.epoch * self.steps, (self.epoch + 1) * self.steps):
            positions = np.arange(step * whole, (step + 1) * whole)[self.rank :: self.ranks]
            rounds, places = np.divmod(positions, self.policies)
            needed = np.unique(rounds).tolist()
            orders = {r: orders[r] if r in orders else self._generator(0, r).permutation(self.policies) for r in needed}
            columns = self._generator(1, step).permutation(self.states)[: self.states_per_step]
            yield np.array([orders[r][p] for r, p in zip(rounds.tolist(), places, strict=True)]), columns


class InOrder(Sampler[tuple[np.ndarray, np.ndarray]]):
    """Every policy once, in order, on all states."""

    def __init__(self, policies: int, states: int) -> None:
        self.policies, self.states = policies, states

    def __len__(self) -> int:
        return -(-self.policies // _EVAL_BATCH)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, self.policies, _EVAL_BATCH):
            yield np.arange(start, min(start + _EVAL_BATCH, self.policies)), np.arange(self.states)


def split_rows(
    pool: Pool, val_share: float, test_share: float, split_seed: int, held_out: str = "policies"
) -> dict[str, np.ndarray]:
    """Split a pool's policies into rows for `train`, `val` and `test`; the same arguments give the same split.

    `held_out` is `policies`, which takes any of them, or `climbs`, which takes all policies of a grown pool that were found
    along one direction together, so that no held-out policy shares its climb with training policies. They may still be its
    relatives: a climb begins at a policy of the pool, which another climb found, and those of one round may begin at the
    same. A pool that is too small to split, or has no climbs, raises `UserError`.
    """
    generator = np.random.default_rng(split_seed)
    order = generator.permutation(len(pool))
    val, test = (max(1, round(share * len(pool))) for share in (val_share, test_share))
    starts = [len(pool) - val - test, len(pool) - test]
    if held_out == "climbs":
        climbs = climbs_of(pool, np.arange(len(pool)))
        if not (climbs >= 0).any():
            raise UserError(
                f"--data.held_out climbs expects a pool that was grown along directions, but {pool.folder} was not: leave "
                "it out"
            )
        _, members = np.unique(climbs[order], return_inverse=True)
        members = generator.permutation(members.max() + 1)[members]
        by_climb = np.argsort(members, kind="stable")
        # The ends of climbs that are nearest to where the shares would cut.
        ends = np.append(np.flatnonzero(np.diff(members[by_climb])) + 1, len(order))
        starts = [int(ends[np.abs(ends - start).argmin()]) for start in starts]
        # Each part in random order again, for the first training policies stand for all of them in places.
        order = np.concatenate([generator.permutation(order[part]) for part in np.split(by_climb, starts)])
    parts = dict(zip(("train", "val", "test"), np.split(order, starts), strict=True))
    if min(map(len, parts.values())) < 2:
        raise UserError(f"{pool.folder} holds {len(pool)} policies, too few to split: keep at least 40")
    return parts


def climbs_of(pool: Pool, rows: np.ndarray) -> np.ndarray:
    """Return the number of the climb that found each policy, (n,); one that none found has a number of its own below 0."""
    directions = np.asarray(pool.arrays["directions"])[rows] if "directions" in pool.arrays else np.full(len(rows), -1)
    return np.where(directions >= 0, directions, -1 - np.asarray(rows))
