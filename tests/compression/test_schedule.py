"""The ramp and the layers' shares, against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_pz.common.errors import UserError
from lightning_pz.compression.methods.schedule import Ramp, cubic_ramp, kept_counts, layer_densities

ACTOR = [(256, 17), (256, 256), (6, 256)]
NATURE = [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), (512, 3136), (6, 512)]


def test_the_ramp_is_the_papers():
    for k in range(601):
        assert 0.95 * cubic_ramp(k / 600) == pytest.approx(0.95 - 0.95 * (1 - k / 600) ** 3, abs=1e-15)


def test_events_are_evenly_spread_between_begin_and_end():
    ramp = Ramp(0.2, 0.8, 6)
    assert [ramp.event(step, 1000) for step in (0, 200, 299, 300, 400, 799, 800, 1000, 1300)] == [
        0,
        0,
        0,
        1,
        2,
        5,
        6,
        6,
        6,
    ]
    assert ramp.share(199, 1000) == 0 and ramp.share(800, 1000) == 1
    assert ramp.share(500, 1000) == pytest.approx(1 - 0.5**3)
    # Shares such as 0.3 and 0.7 are no binary fractions, and must not fall short of their own step.
    assert all(Ramp(0.3, 0.7, n).event(700, 1000) == n for n in range(1, 400))


def test_erk_is_the_closed_form_where_no_layer_is_full():
    densities = np.array(layer_densities(ACTOR, 0.99))
    raw = np.array([(256 + 17) / (256 * 17), (256 + 256) / 256**2, (6 + 256) / (6 * 256)])
    sizes = np.array([256 * 17, 256**2, 6 * 256])
    scale = 0.01 * sizes.sum() / (raw * sizes).sum()
    assert densities == pytest.approx(scale * raw)
    convs = np.array(layer_densities(NATURE, 0.99))
    # The kernel's sizes count as well: 32 + 4 + 8 + 8 over the product, relative to 64 + 32 + 4 + 4.
    assert convs[1] / convs[2] == pytest.approx(((64 + 32 + 8) / (64 * 32 * 16)) / ((64 + 64 + 6) / (64 * 64 * 9)))


def test_a_full_layer_is_made_up_for_by_the_others():
    densities = np.array(layer_densities(ACTOR, 0.5))
    sizes = np.array([math.prod(shape) for shape in ACTOR])
    assert densities.max() == 1 and (densities <= 1).all()
    assert (densities * sizes).sum() == pytest.approx(0.5 * sizes.sum())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(4, 80), st.integers(4, 80)), min_size=1, max_size=5),
    st.floats(0, 0.97),
    st.sampled_from(["erk", "uniform"]),
)
def test_kept_weights_add_up_exactly(shapes, sparsity, distribution):
    sizes = [math.prod(shape) for shape in shapes]
    total = round((1 - sparsity) * sum(sizes))
    if total < len(shapes):
        return
    kept = kept_counts(shapes, sparsity, distribution)
    assert sum(kept) == total
    assert all(1 <= count <= size for count, size in zip(kept, sizes, strict=True))


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.95, 0.98, 0.99])
def test_every_level_of_the_paper_is_met_within_a_thousandth(sparsity):
    for shapes in (ACTOR, NATURE):
        sizes = sum(math.prod(shape) for shape in shapes)
        assert 1 - sum(kept_counts(shapes, sparsity)) / sizes == pytest.approx(sparsity, abs=1e-3)


def test_bad_input():
    for sparsity in (-0.1, 1.0, float("nan")):
        with pytest.raises(UserError, match="--sparsity expects a share of at least 0 and below 1"):
            kept_counts(ACTOR, sparsity)
    with pytest.raises(UserError, match="Did you mean 'erk'"):
        layer_densities(ACTOR, 0.5, "erc")
    with pytest.raises(UserError, match="fewer than the 3 layers"):
        kept_counts([(2, 2)] * 3, 0.99)
    with pytest.raises(UserError, match="0 <= begin < end <= 1"):
        Ramp(0.8, 0.2)
