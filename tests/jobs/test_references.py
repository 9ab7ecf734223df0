"""Linear references of a fit, on the policies that chose the checkpoint and on those of the test, recomputed by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.pool.batches import split_rows
from lightning_pz.pool.states import StateCounts
from lightning_pz.pool.store import read_pool


@pytest.mark.parametrize("part, prefix", [("val", ""), ("test", "test_")])
def test_linear_references_are_those_of_each_split(part, prefix, fitted):
    """Recomputed by hand from the pool: the best plane of the training policies, and the best affine policies."""
    pool = read_pool(Path(fitted.summary["pool"]))
    split = load_autoencoder(fitted.summary["checkpoint"]).hparams["description"]["pool"]["split"]
    by_part = split_rows(pool, **split)
    train, rows = by_part["train"], by_part[part]
    spans = StateCounts(**pool.meta["states"]).slices()
    probe = spans["train"].start

    def actions(rows, name):
        span = spans[name]
        return np.asarray(pool.arrays["actions"])[rows, span.start - probe : span.stop - probe].astype(float)

    own = actions(rows, part)
    spread = np.square(own - own.mean(0)).sum()
    plane = PCA(2).fit(actions(train, part).reshape(len(train), -1))
    flat = own.reshape(len(rows), -1)
    left = np.square(flat - plane.inverse_transform(plane.transform(flat))).sum()
    assert fitted.summary[f"{prefix}pca_fvu"] == pytest.approx(left / spread, rel=1e-4)
    states = pool.network.standardize(torch.from_numpy(pool.arrays["states"].copy())).double().numpy()
    design = np.c_[states, np.ones(len(states))]
    affine = [np.linalg.lstsq(design[spans["train"]], one, rcond=None)[0] for one in actions(rows, "train")]
    error = sum(np.square(design[spans[part]] @ one - true).sum() for one, true in zip(affine, own, strict=True))
    assert fitted.summary[f"{prefix}affine_fvu"] == pytest.approx(error / spread, rel=1e-3)
