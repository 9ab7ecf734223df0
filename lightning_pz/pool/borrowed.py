"""Policies of one pool on the state sample of another, so that policies of all sizes are compared on the same states."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

from lightning_pz.common.files import alone, new_folder, write_text
from lightning_pz.common.identity import digest
from lightning_pz.common.progress import ProgressBar
from lightning_pz.pool.sampling import act_on
from lightning_pz.pool.store import Pool, mapped_array

_DRAW_FLOATS = 1 << 24
"""Weights that may be in memory at once: 64 MiB."""
_TABLES = ("fingerprints", "actions")


def on_states_of(pool: Pool, first: Pool, parent: Path, *, progress: bool | None = None) -> Pool:
    """Return a pool with its fingerprints and actions on the state sample of another, `first`.

    Its policies act with their own network, statistics included, on the raw states, so nothing of what they do changes. The
    tables are computed once and kept below `parent`, in a folder named by the pool and the digest of both; a pool with the
    very same states has them already. The identity of the pool stays what it is.
    """
    states, counts = first.arrays["states"], first.meta["states"]
    tables = {name: pool.arrays[name] for name in _TABLES}
    if not np.array_equal(states, pool.arrays["states"]) or counts != pool.meta["states"]:
        content = {"states": first.meta["arrays"]["states"]["sha256"], "probe": counts["probe"], "pool": pool.digest}
        folder = parent / f"{pool.folder.name}-elsewhere-{digest(content)[:8]}"
        with alone(folder):
            if not folder.exists():
                _act(pool, first, folder, content, progress)
        tables = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _TABLES}
    meta = pool.meta | {"states": counts}
    return dataclasses.replace(pool, meta=meta, arrays={**pool.arrays, "states": states, **tables})


def _act(pool: Pool, first: Pool, folder: Path, content: dict[str, object], progress: bool | None) -> None:
    probe, layout = first.meta["states"]["probe"], pool.layout
    states = pool.network.standardize(torch.from_numpy(first.arrays["states"].copy()))
    size = pool.arrays["fingerprints"].shape[2]
    needed = len(pool) * size * (4 * probe + 2 * (len(states) - probe))
    with (
        new_folder(folder, needed) as temporary,
        mapped_array(temporary, "fingerprints", np.float32, len(pool), probe, size) as fingerprints,
        mapped_array(temporary, "actions", np.float16, len(pool), len(states) - probe, size) as actions,
        ProgressBar(total=len(pool), desc="behavior", unit="policy", unit_scale=True, progress=progress) as bar,
    ):
        write_text(temporary / "identity.json", json.dumps(content, indent=2) + "\n")
        step = max(1, min(4096, _DRAW_FLOATS // layout.num_params))
        for start in range(0, len(pool), step):
            rows = np.arange(start, min(start + step, len(pool)))
            params = pool.params(rows)
            act_on(layout, params, states[:probe], torch.from_numpy(fingerprints[rows[0] : rows[-1] + 1]))
            act_on(layout, params, states[probe:], torch.from_numpy(actions[rows[0] : rows[-1] + 1]))
            bar.update(len(rows))
