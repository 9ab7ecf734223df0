"""Probes of fits that were made without: `python -m sweeps probe RUN [RUN ...]` writes the probes.json that they lack.

Held-out policies, settings and numbers are those of the callback. Seconds a run; a run that has the file is left alone.
"""

from __future__ import annotations

from pathlib import Path

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone
from sweeps.options import ProbeOptions


def run(study: str, options: ProbeOptions) -> None:
    """Probe finished runs."""
    folders = [Path(word) for word in options.runs]
    for folder in folders:
        if not (folder / "checkpoints" / "best.ckpt").is_file():
            raise UserError(f"{folder} expects checkpoints/best.ckpt, but there is none: give run folders of fit")
    for folder in folders:
        with alone(folder / "probes.json"):
            if not (folder / "probes.json").is_file():
                _probe(folder)
        print(folder / "probes.json", flush=True)


def _probe(folder: Path) -> None:
    import torch

    from lightning_pz.autoencoder.load import load_autoencoder
    from lightning_pz.pool.batches import PolicyBatch, split_rows
    from lightning_pz.pool.of_checkpoint import open_pool_of
    from lightning_pz.pool.states import StateCounts
    from lightning_pz.probes.callback import STATES, ProbeCallback, write_report

    module = load_autoencoder(folder / "checkpoints" / "best.ckpt")
    description = module.hparams["description"]
    pool = open_pool_of(description, verify=False)
    callback = ProbeCallback()
    rows = split_rows(pool, **description["pool"]["split"])["val"][: callback.policies]
    columns = StateCounts(**pool.meta["states"]).slices()["val"]
    states = pool.network.standardize(torch.from_numpy(pool.arrays["states"].copy()))[columns][:STATES]
    nothing = torch.empty(0)
    params = pool.params(rows) if module.encoder.reads == "params" else nothing
    prints = torch.from_numpy(pool.arrays["fingerprints"][rows])
    batch = PolicyBatch(prints, states, nothing, nothing, params, nothing, nothing)
    write_report(callback.measure(module, batch, final=True), folder)
