"""Several pools under one latent, one for each size of policy: what may stand together, and how each is split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.envs.policy_sizes import size_name
from lightning_pz.envs.presets import PolicyConfig
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.policy import Layout
from lightning_pz.pool.batches import Part, split_rows
from lightning_pz.pool.of_checkpoint import REPEATED, check_same_pool, describe_pool
from lightning_pz.pool.states import StateCounts
from lightning_pz.pool.store import Pool, read_meta


@dataclass(frozen=True)
class Splits:
    """One pool's policies and the common states, each in parts for training, validation and test."""

    pool: Pool
    train: Part
    val: Part
    test: Part
    train_measured: Part  # as many training policies and states as are held out


def split_pool(
    pool: Pool, first: Pool, split: Mapping[str, Any], with_params: bool = False, with_visited: bool = False
) -> Splits:
    """Split a pool that has its tables on the states of the first one; see `on_states_of`."""
    rows, network = split_rows(pool, **split), first.network
    counts = StateCounts(**first.meta["states"])
    columns = {part: np.arange(span.start, span.stop) for part, span in counts.slices().items()}
    # Training FVU is measured on as many training states as there are held-out ones; all of them would make
    # measuring it cost more than training.
    spread = columns["train"][np.linspace(0, counts.train - 1, min(counts.train, counts.val)).astype(int)]
    states = network.standardize(torch.from_numpy(first.arrays["states"].copy()))

    def part(name: str, columns: np.ndarray, count: int | None = None, with_visited: bool = False) -> Part:
        return Part(pool, rows[name][:count], columns, states, with_params, with_visited, network)

    return Splits(
        pool,
        part("train", columns["train"], with_visited=with_visited),
        part("val", columns["val"]),
        part("test", columns["test"]),
        part("train", spread, len(rows["val"])),
    )


def given_folders(pool: str) -> list[Path]:
    """Return the folders in a text such as `A,B,C`; a folder whose own name has a comma is one."""
    if (Path(pool) / "pool.json").is_file():
        return [Path(pool)]
    return [Path(folder.strip()) for folder in pool.split(",")]


def check_sizes(
    first: Layout, spec: EnvSpec, policy: PolicyConfig, further: Sequence[Path], decoded: Sequence[PolicyConfig]
) -> None:
    """Raise `UserError` unless all sizes, of pools and of decoders alone, differ in shape and name, and in nothing else."""
    known = {policy.name: first}
    for folder in further:
        meta = read_meta(folder)
        layout = Layout.from_dict(meta["layout"])
        if meta["env"]["id"] != spec.id:
            raise UserError(
                f"--data.pool expects pools of one environment, {spec.id}, but {folder} holds policies for "
                f"{meta['env']['id']}: give a pool of {spec.id}, or leave it out"
            )
        if layout.head != first.head:
            raise UserError(
                f"--data.pool expects policies whose behavior can be compared, but those of {folder} have the head "
                f"{layout.head.to_dict()} and those of --policy {first.head.to_dict()}: give pools of one kind of head"
            )
        name = size_name(layout.hidden, layout.activation)
        _check_apart(known, name, layout, f"--data.pool {folder}")
        known[name] = layout
    for size in decoded:
        layout = dataclasses.replace(first, hidden=tuple(size.hidden), activation=size.activation)
        _check_apart(known, size.name, layout, f"--decodes {size.name}")
        known[size.name] = layout


def _check_apart(known: Mapping[str, Layout], name: str, layout: Layout, flag: str) -> None:
    for other, its in known.items():
        if (its.hidden, its.activation) == (layout.hidden, layout.activation) or name == other:
            raise UserError(
                f"{flag} has the size {name!r}, hidden widths {list(layout.hidden)} ({layout.activation}), but the size "
                f"{other!r}, {list(its.hidden)} ({its.activation}), is there already: give each size once"
            )


def describe_size(pool: Pool, split: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint keeps of a further pool: what differs from its description of the first."""
    kept = {key: pool.meta[key] for key in REPEATED if key != "env"}
    name = size_name(pool.layout.hidden, pool.layout.activation)
    return {**kept, "policy": name, "pool": {**describe_pool(pool), "split": dict(split)}}


def check_same_pools(pools: Sequence[Pool], description: Mapping[str, Any]) -> None:
    """Raise `UserError` with the first difference unless a fit's pools are those of the checkpoint that it resumes from."""
    others = [other for other in description.get("others", []) if other["pool"] is not None]
    if len(others) != len(pools) - 1:
        raise UserError(
            f"this checkpoint was trained on {len(others) + 1} pools, but --data.pool gives {len(pools)}: give the same"
        )
    for pool, known in zip(pools, [description, *others], strict=True):
        check_same_pool(pool, known, "give the right one with --data.pool, or leave --ckpt_path out")
