"""Linear references against scikit-learn and cases with a known answer."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score

from lightning_pz.probes.linear import affine_fvu, pca_fvu, project


@pytest.mark.parametrize("rows, features", [(200, 12), (30, 80)])
def test_pca_equals_scikit_learn(rows, features):
    generator = torch.Generator().manual_seed(0)
    train, held_out = torch.randn(2, rows, features, generator=generator) @ torch.randn(features, features)
    ours = pca_fvu(train, held_out, [1, 3, 8])
    for k, value in ours.items():
        model = PCA(k, svd_solver="full").fit(train.double().numpy())
        rebuilt = model.inverse_transform(model.transform(held_out.double().numpy()))
        r2 = r2_score(held_out.numpy(), rebuilt, multioutput="variance_weighted")
        assert value == pytest.approx(1 - r2, rel=1e-6)
        np.testing.assert_allclose(project(train, held_out, k).numpy(), rebuilt, atol=1e-3, rtol=1e-4)


def test_more_components_than_rows_explain_what_rows_span():
    train = torch.randn(5, 40)
    assert pca_fvu(train, train, [16])[16] == pytest.approx(0, abs=1e-9)


def test_affine_policies_are_explained_fully():
    states, unseen = torch.randn(2, 30, 4)
    weight, bias = torch.randn(10, 4, 3), torch.randn(10, 1, 3)
    value, numbers = affine_fvu(states, states @ weight + bias, unseen, unseen @ weight + bias)
    assert value == pytest.approx(0, abs=1e-9) and numbers == 3 * (4 + 1)


def test_rank_deficient_observations_count_once():
    states, unseen = torch.randn(2, 30, 3)
    twice = [torch.cat([s, s[:, :1]], 1) for s in (states, unseen)]
    actions = [s.sum(1)[None, :, None].expand(2, -1, -1) * torch.tensor([1.0, 2.0])[:, None, None] for s in twice]
    value, numbers = affine_fvu(twice[0], actions[0], twice[1], actions[1])
    assert value == pytest.approx(0, abs=1e-9) and numbers == 1 * (3 + 1)


def test_what_components_explain_entirely_leaves_nothing_and_never_less():
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) @ torch.randn(
        3, 50, generator=torch.Generator().manual_seed(1)
    )
    found = pca_fvu(rows, rows, [1, 2, 3, 4, 50])
    assert found[1] > found[2] > 1e-6 and all(0 <= found[k] < 1e-9 for k in (3, 4, 50))
