"""Searches that begin at a saved policy: where they begin, and what is refused."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from lightning_pz import finetune
from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.jobs import finetune_run as single_run
from lightning_pz.jobs.finetune_settings import JobSettings, check_command
from lightning_pz.policy import Layout, act_shared
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.settings import SearchSettings

TINY = ["--budget", "1200", "--pgpe.population", "4", "--evaluation_episodes", "2", "--test_episodes", "4"]


def test_a_search_begins_at_a_policy_from_a_file(checkpoint, tmp_path, capsys):
    """PGPE on latents begins at the policy's encoding or, anchored, at its behavior; PGPE on weights at the very policy."""
    model = load_autoencoder(checkpoint)
    latent = torch.full((1, 2), 0.3)
    with torch.no_grad():
        params = model.decoder(latent)
        code = model.encode(params)
    (tmp_path / "best").mkdir()
    SavedPolicy.of(model.policy, params[0]).save(tmp_path / "best" / "left.npz")
    for start in (str(tmp_path / "best"), str(tmp_path / "best" / "left.npz")):
        settings = SearchSettings(task="left", start=start, anchor=False)
        for algorithm in ("pgpe", "cmaes", "parameter_pgpe"):
            _, search = single_run.build_search(model, dataclasses.replace(settings, algorithm=algorithm), 1)
            state = search.begin()
            assert search.cost(state) <= settings.pgpe.population * 100  # no starts are tried
            with torch.no_grad():
                expected = params[0] if algorithm == "parameter_pgpe" else model.decoder(code)[0]
            torch.testing.assert_close(search.incumbent(state).params, expected, rtol=1e-4, atol=1e-4)
    _, search = single_run.build_search(model, SearchSettings(task="left", start=start), 1)
    states = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own, left, kept = (
            act_shared(model.layout, p, states)
            for p in (params, model(params), search.incumbent(search.begin()).params[None])
        )
    assert (kept - own).square().mean() < (left - own).square().mean() / 20
    finetune.main([
        "--checkpoint", checkpoint, *TINY, "--task", "left", "--start", str(tmp_path / "best"), "--logs", str(tmp_path),
    ])  # fmt: skip
    assert re.fullmatch(
        r"pgpe-small-k2-.*-from-best-[0-9a-f]{8}-seed0", Path(capsys.readouterr().out.strip().splitlines()[-1]).name
    )


def test_a_policy_of_another_pool_keeps_its_behavior(checkpoint, tmp_path):
    """Its pool standardizes observations by statistics of its own; the weights make up for it."""
    model = load_autoencoder(checkpoint)
    with torch.no_grad():
        params = model.decoder(torch.full((1, 2), 0.3))[0]
    saved = dataclasses.replace(
        SavedPolicy.of(model.policy, params),
        observation_mean=torch.tensor([0.1, -0.02]),
        observation_std=torch.tensor([0.5, 0.01]),
    )
    saved.save(tmp_path / "left.npz")
    settings = SearchSettings(algorithm="parameter_pgpe", task="left", start=str(tmp_path / "left.npz"))
    _, search = single_run.build_search(model, settings, 1)
    found = search.incumbent(search.begin())
    states = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.5, 0.03])
    torch.testing.assert_close(found.act(states), saved.act(states), atol=1e-4, rtol=1e-3)
    assert torch.equal(found.observation_mean, model.policy.observation_mean)


def test_a_start_that_does_not_fit_is_refused(checkpoint, tmp_path):
    model = load_autoencoder(checkpoint)
    other = Layout(2, (3,), 1)
    mean = torch.zeros(2)
    policy = SavedPolicy(other, torch.zeros(other.num_params), mean, mean + 1, mean[:1] - 1, mean[:1] + 1)
    policy.save(tmp_path / "other.npz")
    for start, sentence in (("other.npz", "but the decoder makes"), ("none.npz", "there is none at")):
        with pytest.raises(UserError, match=sentence):
            single_run.build_search(model, SearchSettings(start=str(tmp_path / start)), 1)


@pytest.mark.parametrize("words", [(), ("--anchor", "false"), ("--start", "pool_best"), ("--algorithm", "ppo")])
def test_a_pool_that_is_none_is_refused_even_where_nothing_reads_it(words, checkpoint, pool, tmp_path):
    command = ["--checkpoint", checkpoint, *TINY, "--task", "left", *words, "--logs", str(tmp_path / "logs"), "--pool"]
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(UserError, match=f"--pool expects the folder .* there is no pool.json in {place}"):
            finetune.main([*command, str(place)])
    assert not (tmp_path / "logs").exists()
    check_command(JobSettings(checkpoint=checkpoint, pool=str(pool.folder)), SearchSettings(task="left"))
