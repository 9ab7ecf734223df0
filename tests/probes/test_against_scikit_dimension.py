"""Equal to scikit-dimension to the printed digits and far beyond. Runs where it is installed (extra `dimension`)."""

import numpy as np
import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.probes.dimension import GRIDE_SCALES, gride, levina_bickel, local_pca, two_nn
from lightning_pz.probes.extra import check_estimators, extra_estimate
from lightning_pz.probes.neighbors import neighbor_table
from lightning_pz.probes.spectrum import components_for, participation_ratio, spectrum

ids = pytest.importorskip("skdim.id")


@pytest.fixture(scope="module", params=[(400, 3, 3), (200, 5, 60)], ids=str)
def points(request):
    count, inner, outer = request.param
    generator = torch.Generator().manual_seed(inner)
    flat = torch.rand(count, inner, generator=generator, dtype=torch.double)
    return flat @ torch.randn(inner, outer, generator=generator, dtype=torch.double) + 0.01 * torch.randn(
        count, outer, generator=generator, dtype=torch.double
    )


@pytest.fixture(scope="module")
def table(points):
    return neighbor_table(points, 100)


@pytest.mark.parametrize("discard", [0.1, 0.3])
def test_two_nn_by_likelihood(points, table, discard):
    theirs = ids.TwoNN(discard_fraction=discard, method="mle").fit(points.numpy())
    assert two_nn(table, discard).value == pytest.approx(theirs.dimension_, rel=1e-6)


@pytest.mark.parametrize("neighbors", [5, 20])
def test_levina_bickel(points, table, neighbors):
    theirs = ids.MLE().fit(points.numpy(), n_neighbors=neighbors, comb="mle")
    assert levina_bickel(table, neighbors).value == pytest.approx(theirs.dimension_, rel=1e-6)


def test_the_scale_curve_of_gride(points, table):
    theirs = ids.GRIDE(multiscale=True, range_max=64).fit(points.numpy())
    assert tuple(theirs.scales_) == GRIDE_SCALES
    for near, value in zip(theirs.scales_, theirs.dimension_scales_, strict=True):
        assert gride(table, int(near)).value == pytest.approx(value, rel=1e-6)
    for near, error in zip(theirs.scales_, theirs.error_scales_, strict=True):
        # Theirs takes the ratios of all points as independent; ours never claims to be surer than about that.
        assert gride(table, int(near)).standard_error > 0.75 * error


def test_local_pca(points, table):
    theirs = ids.lPCA(ver="FO").fit_pw(points.numpy(), n_neighbors=50)
    ours = local_pca(points, table, neighbors=50, centers=len(points))
    assert ours.value == pytest.approx(np.mean(theirs.dimension_pw_), rel=1e-9)


def test_spectral_measures(points):
    found = spectrum(points)
    assert participation_ratio(found).value == pytest.approx(
        ids.lPCA(ver="participation_ratio").fit(points.numpy()).dimension_
    )
    for share in (0.9, 0.95, 0.99):
        assert (
            components_for(found, share).value == ids.lPCA(ver="ratio", alphaRatio=share).fit(points.numpy()).dimension_
        )


@pytest.mark.parametrize("name", ["CorrInt", "MOM", "GRIDE"])
def test_any_of_its_estimators_by_name(name):
    cube = torch.rand(300, 3, generator=torch.Generator().manual_seed(0))
    found = extra_estimate(name, cube)
    assert 1 < found.value < 6 and found.value == extra_estimate(name, cube).value
    assert np.isfinite(found.standard_error) == (name == "GRIDE")


def test_a_mistyped_name_is_told():
    with pytest.raises(UserError, match=r"estimators of scikit-dimension .*'CorInt'. Did you mean 'CorrInt'"):
        check_estimators(["CorInt"])


def test_points_that_it_refuses_are_told():
    with pytest.raises(UserError, match="refuses 1 points"):
        extra_estimate("TwoNN", torch.zeros(1, 3))
