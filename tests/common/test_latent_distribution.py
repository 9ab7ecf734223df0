"""Random latents come from where the encoded training policies are, in evaluations and in searches alike."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lightning_pz import evaluate, finetune, fit
from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.common.latent_distribution import BANDWIDTH, ENCODINGS, LatentDistribution
from lightning_pz.comparison.search_runs import read_search
from lightning_pz.envs.episode_seeds import seed_of
from lightning_pz.evaluation.groups import choose_latents, find_pool
from lightning_pz.jobs.finetune_run import build_search
from lightning_pz.pool.batches import split_rows
from lightning_pz.search.algorithm_settings import RandomLatentSettings
from lightning_pz.search.optimizers.random_latent import RandomLatent
from lightning_pz.search.settings import SearchSettings
from lightning_pz.search.spaces import latent_space
from tests.conftest import TINY_FIT
from tests.said import reused

SEARCH = ["--evaluation_episodes", "2", "--test_episodes", "2", "--workers", "1", "--task", "height", "--starts", "2"]


def distribution(latents, kind="density"):
    return LatentDistribution(latents.mean(0), torch.cov(latents.T), latents, kind)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clusters(distance=100.0):
    """Two narrow clusters of four latents, far apart in a direction that is no axis."""
    spread = torch.randn(200, 4, generator=generator())
    side = torch.where(torch.arange(200) % 2 == 0, 1.0, -1.0)[:, None]
    return spread + side * distance * torch.tensor([1.0, -1.0, 0.5, 0.0]) + 7


def test_the_density_has_the_moments_of_a_kernel_density():
    """Mean of the encodings; their covariance and that of the kernel added, h^2 times the latents' covariance."""
    cloud = clusters(3.0)
    drawn = distribution(cloud).draw(200_000, generator())
    centered = (cloud - cloud.mean(0)).double()
    expected = centered.T @ centered / len(cloud) + 0.3**2 * torch.cov(cloud.T.double())
    assert BANDWIDTH == 0.3
    torch.testing.assert_close(drawn.mean(0), cloud.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T.double()), expected, atol=0.15, rtol=0.02)
    # Not only the moments: each draw lies around an encoding as a normal vector of the kernel's size does.
    nearest = torch.cdist(distribution(cloud).to_points(drawn[:2000]), distribution(cloud).to_points(cloud)).amin(1)
    assert nearest.mean() < 0.3 * 2


def test_between_two_clusters_there_is_nothing():
    cloud = clusters()

    def in_between(kind):
        latents = distribution(cloud, kind)
        along = (choose_latents(latents, 2000, seed=0) - 7) @ torch.tensor([1.0, -1.0, 0.5, 0.0]) / 2.25
        return float((along.abs() < 25).float().mean())

    assert in_between("density") < 0.02 < 0.15 < in_between("gaussian")
    for kind, where in (("density", 100.0), ("gaussian", 0.0)):
        space = latent_space(lambda z: z, distribution(cloud, kind))
        first = space.decode(space.draw(3, 0))[0]
        along = (first - 7) @ torch.tensor([1.0, -1.0, 0.5, 0.0]) / 2.25
        assert abs(float(along)) == pytest.approx(where, abs=3)
        assert bool((cloud - first).norm(dim=1).min() < 1e-3) is (kind == "density")


@pytest.mark.parametrize("kind", ["density", "gaussian"])
def test_the_same_seed_gives_the_same_draws_everywhere(kind):
    latents = distribution(clusters(), kind)
    space = latent_space(lambda z: z, latents)
    points = latents.draw(6, generator(3))
    assert torch.equal(choose_latents(latents, 6, seed=3), points)
    assert torch.equal(space.decode(space.draw(6, 3))[1:], points[1:])
    assert not torch.equal(space.draw(6, 3)[1:], space.draw(6, 4)[1:])
    search = RandomLatent(RandomLatentSettings(population=6), space.sample)
    state = search.begin(torch.zeros(4), 3)
    after, asked = search.ask(state)
    torch.testing.assert_close(space.decode(asked), points)
    # A saved state goes on as if nothing had happened.
    kept = type(after)(*(part.clone() if isinstance(part, torch.Tensor) else part for part in after))
    assert torch.equal(search.ask(after)[1], search.ask(kept)[1])
    assert not torch.equal(search.ask(after)[1], asked)


def test_a_latent_that_is_not_used_stays_where_it_is():
    cloud = clusters(2.0)
    cloud[:, 2] = 0.5
    drawn = choose_latents(distribution(cloud), 500, seed=0)
    assert torch.isfinite(drawn).all() and (drawn[:, 2] - 0.5).abs().max() < 0.01
    assert drawn[:, [0, 1, 3]].std(0).min() > 0.5


def test_bad_kinds():
    with pytest.raises(UserError, match="--latents expects one of density, gaussian"):
        LatentDistribution(torch.zeros(2), torch.eye(2), None, "normal")
    with pytest.raises(UserError, match="earlier version, which kept none: give --latents gaussian"):
        LatentDistribution(torch.zeros(2), torch.eye(2), torch.empty(0, 2), "density")


@pytest.fixture(scope="module", params=["plain", "nested", "variational"])
def trained(request, fitted):
    """A fit of four latents with each bottleneck."""
    logs = Path(fitted.folder).parents[2]
    arguments = ["--model.latent_dim", "4", "--model.bottleneck", request.param, "--logs", str(logs)]
    return fit.main(["--env", "mountaincar", *TINY_FIT, *arguments]).summary["checkpoint"]


@pytest.mark.slow
def test_a_checkpoint_keeps_encodings_of_training_policies_alone(trained):
    model = load_autoencoder(trained)
    pool = find_pool(model)
    train = split_rows(pool, **model.hparams["description"]["pool"]["split"])["train"]
    assert len(train) < ENCODINGS
    with torch.no_grad():
        expected = model.encode(pool.params(train))
    torch.testing.assert_close(model.latent_encodings, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.latent_mean, expected.mean(0), atol=1e-4, rtol=1e-4)


def without_encodings(checkpoint, path):
    kept = torch.load(checkpoint, weights_only=True)
    del kept["state_dict"]["latent_encodings"]
    torch.save(kept, path)
    return str(path)


def played(checkpoint, logs, capsys, *arguments):
    few = [
        "--policies",
        "6",
        "--episodes",
        "1",
        "--draws",
        "5",
        "--best",
        "2",
        "--fresh_episodes",
        "2",
        "--tasks",
        "[height]",
    ]
    evaluate.main(["--checkpoint", checkpoint, *few, "--logs", str(logs), *arguments])
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    with np.load(folder / "latents.npz") as file:
        return folder, torch.from_numpy(file["latents"])


@pytest.mark.slow
def test_evaluate_draws_from_the_density_also_for_an_old_checkpoint(trained, tmp_path, capsys):
    model = load_autoencoder(trained)
    folder, latents = played(trained, tmp_path, capsys)
    assert torch.equal(latents, choose_latents(model.latents("density"), 6, 0))
    other, gaussian = played(trained, tmp_path, capsys, "--latents", "gaussian")
    assert other != folder and torch.equal(gaussian, choose_latents(model.latents("gaussian"), 6, 0))
    old = without_encodings(trained, tmp_path / "old.ckpt")
    torch.testing.assert_close(played(old, tmp_path, capsys)[1], latents, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_an_old_checkpoint_is_searched_from_its_gaussian_and_says_so_once(trained, tmp_path, capsys):
    old = without_encodings(trained, tmp_path / "old.ckpt")
    search = [*SEARCH, "--algorithm", "random_latent", "--budget", "6000", "--random_latent.population", "3"]
    finetune.main(["--checkpoint", old, *search, "--seeds", "2", "--logs", str(tmp_path)])
    output = capsys.readouterr().out
    assert output.count("random latents are drawn from a Gaussian") == 1
    finetune.main(["--checkpoint", old, *search, "--latents", "gaussian", "--logs", str(tmp_path)])
    again = capsys.readouterr().out
    assert reused(again) == "1" and "drawn from" not in again
    folder = Path(again.strip().splitlines()[-1])
    assert yaml.safe_load((folder / "config.yaml").read_text())["latents"] == "gaussian"
    # A run of that earlier version does not know the word.
    plain = yaml.safe_load((folder / "config.yaml").read_text())
    del plain["latents"]
    (folder / "config.yaml").write_text(yaml.safe_dump(plain))
    assert "latents" not in read_search(folder).settings


class Asked(Exception):
    """Raised in the place of an episode, with the weights that were to be played."""


@pytest.mark.parametrize("kind", ["density", "gaussian"])
@pytest.mark.parametrize("algorithm", ["random_latent", "pgpe", "gradient"])
def test_what_a_search_tries_first_is_drawn_from_the_distribution_of_evaluate(fitted, algorithm, kind):
    model = load_autoencoder(fitted.summary["checkpoint"])
    settings = SearchSettings(algorithm=algorithm, task="height", starts=4, budget=30_000, latents=kind)
    settings = dataclasses.replace(settings, random_latent=RandomLatentSettings(population=4))
    _, search = build_search(model, settings, 1)

    def stops(params, seeds):
        raise Asked(params)

    search.objective = stops
    with pytest.raises(Asked) as told:
        search.step(search.begin())
    latents = model.latents(kind)
    purpose = 1 if algorithm == "random_latent" else 0
    points = latents.sample_points(4, generator(seed_of(settings.seed, purpose)))
    tried, expected = told.value.args[0], model.decoder(latents.to_latents(points))
    if algorithm != "random_latent":
        middle = model.latent_mean if kind == "gaussian" else _nearest_to_the_mean(model)
        torch.testing.assert_close(tried[0], model.decoder(middle[None])[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tried[1:4], expected[1:])


def _nearest_to_the_mean(model):
    """In standard deviations along the principal axes, by hand."""
    centered = (model.latent_encodings - model.latent_mean).double()
    inverse = torch.linalg.inv(model.latent_covariance.double())
    return model.latent_encodings[torch.einsum("ni,ij,nj->n", centered, inverse, centered).argmin()]


def test_the_identity_of_a_run_names_the_latents_only_where_they_decide():
    usual = SearchSettings()
    assert usual.identity()["latents"] == "density"
    # Gaussian runs are those from before there was a choice, and are found again.
    assert "latents" not in dataclasses.replace(usual, latents="gaussian").identity()
    for other in ({"algorithm": "parameter_pgpe"}, {"algorithm": "sac"}, {"start": "pool_best"}, {"start": "a/b.npz"}):
        assert "latents" not in dataclasses.replace(usual, **other).identity()
    assert "latents" in dataclasses.replace(usual, start="pool_best", behavior_step=0.1).identity()
