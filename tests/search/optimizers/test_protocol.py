"""Ranks against a plain sort."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from lightning_pz.search.optimizers.protocol import centered_ranks


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=20))
def test_ranks_equal_those_of_scipy(values):
    expected = (rankdata(values) - 1) / (len(values) - 1) - 0.5
    found = centered_ranks(torch.tensor(values, dtype=torch.double))
    assert torch.allclose(found, torch.from_numpy(expected), atol=1e-12)
    assert abs(float(found.mean())) < 1e-12


def test_what_is_not_finite_ranks_last():
    ranks = centered_ranks(torch.tensor([1.0, torch.nan, -50.0, -torch.inf], dtype=torch.double))
    assert ranks.tolist() == pytest.approx([0.5, -1 / 3, 1 / 6, -1 / 3])
    assert centered_ranks(torch.tensor([3.0])).tolist() == [0.0]
