"""What stands behind a grown pool: fit with every loss, evaluate, and searches that begin at its best policy."""

import contextlib
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_pz import collect, evaluate, finetune, fit
from lightning_pz.autoencoder import losses
from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.envs.episode_seeds import episode_seeds
from lightning_pz.envs.presets import EnvConfig, PolicyConfig, conf_dir
from lightning_pz.envs.tasks import find_task
from lightning_pz.jobs.finetune_run import build_search
from lightning_pz.policy import act_each, act_shared
from lightning_pz.pool.best import best_of_pool
from lightning_pz.pool.datamodule import PolicyPoolDataModule
from lightning_pz.pool.of_checkpoint import describe_pool, is_pool_of
from lightning_pz.pool.store import read_pool
from lightning_pz.replay import ranking as ranking_module
from lightning_pz.replay.ranking import rank_pool
from lightning_pz.replay.replay_episodes import replayed_returns
from lightning_pz.replay.steady import steady_rows, steady_settings
from lightning_pz.search.bayesian import ANCHORED
from lightning_pz.search.settings import BoSettings, SearchSettings
from tests.said import reused

STATES = "{probe: 16, train: 24, val: 12, test: 12}"
GROWN = {
    "steps": "15000", "first": "40", "size": "60", "horizon": "50", "directions": "4", "population": "4", "generations": "4",
    "latent_rounds": "0", "neighbors": "5", "states": STATES,
}  # fmt: skip
FIT = [
    "--env", "mountaincar", "--policy", "small", "--model.latent_dim", "2", "--model.encoder_widths", "[16]",
    "--model.decoder_widths", "[16]", "--data.batch_size", "16", "--data.states_per_step", "8",
    "--data.steps_per_epoch", "10", "--trainer.max_steps", "10", "--trainer.log_every_n_steps", "5", "--data.recipe", "grown",
    *(word for name, value in GROWN.items() for word in (f"--data.grown.{name}", value)),
]  # fmt: skip
SEARCH = [
    "--starts",
    "2",
    "--pgpe.population",
    "4",
    "--evaluation_episodes",
    "2",
    "--test_episodes",
    "3",
    "--workers",
    "1",
]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def done(logs):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        result = fit.main([*FIT, "--logs", str(logs), "--model.loss", "behavior_visited"])
    # Nobody shall take its held-out FVU for that of unrelated policies.
    assert "descend from the same searches" in said.getvalue() and "--elsewhere" in said.getvalue()
    return result


def test_fit_makes_the_pool_that_collect_finds(done, logs, capsys):
    flags = [word for name, value in GROWN.items() for word in (f"--{name}", value)]
    collect.main(["--env", "mountaincar", "--policy", "small", "--recipe", "grown", *flags, "--logs", str(logs)])
    output = capsys.readouterr().out
    assert output.strip().splitlines()[-1] == done.summary["pool"] and "was there already" in output
    assert np.isfinite([value for value in done.summary.values() if isinstance(value, float)]).all()


def test_visited_states_are_served_with_what_the_policy_did_there(grown):
    data = PolicyPoolDataModule(
        EnvConfig("car", "MountainCarContinuous-v0"), PolicyConfig("tiny", [8, 8]), pool=str(grown.folder), batch_size=8,
        states_per_step=5, val_share=0.1, test_share=0.1, with_params=True, with_visited=True,
    )  # fmt: skip
    data.prepare_data()
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch.visited.shape == (8, 3, 2) and batch.visited_actions.shape == (8, 3, 1)
    torch.testing.assert_close(batch.visited_actions, act_each(data.layout, batch.params, batch.visited))
    # The very states of these policies, by their weights.
    rows = [int(np.flatnonzero((grown.arrays["params"] == one.numpy()).all(1))[0]) for one in batch.params]
    raw = torch.from_numpy(grown.arrays["visited"][rows])
    torch.testing.assert_close(batch.visited, grown.network.standardize(raw))


def test_the_occupancy_aware_loss_is_half_plain_half_own():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 4, 7, 3, generator=generator)
    own, target = torch.randn(2, 4, 2, 3, generator=generator)
    expected = (((a - b) ** 2).mean() + ((own - target) ** 2).mean()) / 2 / 0.3
    torch.testing.assert_close(
        losses.behavior_visited(losses.Reconstruction(a, b, 0.3, own_actions=own, own_target=target)), expected
    )


def test_a_random_pool_does_not_know_where_policies_went(pool, tmp_path):
    with pytest.raises(UserError, match="behavior_visited needs the states"):
        PolicyPoolDataModule(
            EnvConfig("car", "MountainCarContinuous-v0"), PolicyConfig("tiny", [8, 8]), pool=str(pool.folder),
            with_visited=True,
        ).prepare_data()  # fmt: skip


@pytest.mark.slow
def test_evaluate_takes_a_grown_pool(done, logs, capsys):
    checkpoint = done.summary["checkpoint"]
    evaluate.main(
        ["--checkpoint", checkpoint, "--policies", "4", "--episodes", "1", "--draws", "5", "--logs", str(logs)]
    )
    summary = json.loads((Path(capsys.readouterr().out.strip().splitlines()[-1]) / "summary.json").read_text())
    assert np.isfinite(summary["height/best_in_pool"])


@pytest.mark.parametrize("algorithm", ["pgpe", "cmaes", "parameter_pgpe"])
def test_a_search_begins_at_the_best_of_the_pool_and_takes_no_step_for_it(done, algorithm):
    model, pool = load_autoencoder(done.summary["checkpoint"]), read_pool(Path(done.summary["pool"]))
    settings = SearchSettings(algorithm=algorithm, task="height", start="pool_best", anchor=False)
    _, search = build_search(model, settings, 1)
    own = pool.params(best_of_pool(pool, "height"))
    expected = own if algorithm == "parameter_pgpe" else model(own)
    state = search.begin()
    torch.testing.assert_close(search.incumbent(state).params, expected[0], rtol=1e-3, atol=1e-4)
    # Nothing but whole generations is paid for.
    assert search.cost(state) == search.least_budget == search.optimizer.population * 999


def test_a_steady_start_is_the_policy_whose_neighbors_earn_much_too(done):
    model, pool = load_autoencoder(done.summary["checkpoint"]), read_pool(Path(done.summary["pool"]))
    rows = steady_rows(pool.arrays["fingerprints"], rank_pool(pool, "height"), 3)
    assert rows.tolist() != best_of_pool(pool, "height", 3).tolist()
    own = pool.params(rows)
    for settings in (
        SearchSettings(algorithm="parameter_pgpe", task="height", start="pool_steady"),
        SearchSettings(algorithm="bo", task="height", start="pool_steady", bo=BoSettings(policies=3)),
    ):
        _, search = build_search(model, settings, 1)
        torch.testing.assert_close(search.incumbent(search.begin()).params, own[0], rtol=1e-5, atol=1e-6)
    assert torch.equal(search.given, own)


def test_bayesian_optimization_knows_the_best_of_the_pool_before_its_first_episode(done):
    """Its answer is the policy itself, not what the decoder makes of it; the next best are considered, anchored too."""
    model, pool = load_autoencoder(done.summary["checkpoint"]), read_pool(Path(done.summary["pool"]))
    settings = SearchSettings(algorithm="bo", task="height", start="pool_best", bo=BoSettings(policies=3))
    _, search = build_search(model, settings, 1)
    state = search.begin()
    best = pool.params(best_of_pool(pool, "height", 3))
    assert torch.equal(search.incumbent(state).params, best[0]) and torch.equal(search.given, best)
    for episodes in range(1, 7):
        state, generation = search.step(state)
        assert len(state.played) == episodes and 0 < generation.steps <= search.cost(state) == 999
    assert ANCHORED in state.forms.tolist() and set(state.origins.tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("algorithm", ["pgpe", "parameter_pgpe"])
def test_a_search_tries_the_top_of_the_pool_and_counts_it(done, algorithm):
    model, pool = load_autoencoder(done.summary["checkpoint"]), read_pool(Path(done.summary["pool"]))
    settings = SearchSettings(algorithm=algorithm, task="height", start="pool_top", starts=3, anchor=False)
    objective, search = build_search(model, settings, 1)
    state, generation = search.step(search.begin())
    rows = best_of_pool(pool, "height", 3)
    tried = pool.params(rows) if algorithm == "parameter_pgpe" else model(pool.params(rows))
    returns = objective(tried, episode_seeds(settings.seed, 0, 1))
    assert generation.steps == returns.steps > 0
    np.testing.assert_allclose(generation.returns, returns.mean, rtol=1e-3)
    best = tried[int(returns.mean.argmax())]
    torch.testing.assert_close(search.incumbent(state).params, best, rtol=1e-3, atol=1e-4)
    assert settings.identity()["starts"] == 3


@pytest.mark.parametrize("algorithm", ["pgpe", "cmaes"])
@pytest.mark.parametrize("start", ["pool_best", "pool_top"])
def test_an_anchored_search_begins_at_the_policy_as_it_behaves(done, algorithm, start):
    model, pool = load_autoencoder(done.summary["checkpoint"]), read_pool(Path(done.summary["pool"]))
    settings = SearchSettings(algorithm=algorithm, task="height", start=start, starts=3)
    _, search = build_search(model, settings, 1)
    state = search.begin()
    best, rows = 0, best_of_pool(pool, "height", 3)
    if start == "pool_top":
        state, generation = search.step(state)
        best = int(generation.returns.argmax())
    params = pool.params(rows[best : best + 1])
    # On states of the sample that anchoring did not see.
    states = pool.network.standardize(torch.from_numpy(pool.arrays["states"][-20:].copy()))
    own, decoded, anchored = (
        act_shared(model.layout, p, states) for p in (params, model(params), search.incumbent(state).params[None])
    )
    before, after = (decoded - own).square().mean(), (anchored - own).square().mean()
    assert 0 < after < before / 20
    # One more generation is a step of the optimizer around it, not back to the decoder's own.
    further, _ = search.step(state)
    torch.testing.assert_close(further.shift, state.shift)
    moved = act_shared(model.layout, search.incumbent(further).params[None], states)
    assert 0 < (moved - own).square().mean() < before


def test_pgpe_lets_the_decoder_go_where_it_stands(done):
    model = load_autoencoder(done.summary["checkpoint"])
    settings = SearchSettings(task="height", start="pool_best", release_decoder_at=1)
    _, search = build_search(model, settings, 1)
    state, generation = search.step(search.begin())
    before = search.incumbent(state)
    assert state.steps == generation.steps and not state.released
    released = search._release(state)
    torch.testing.assert_close(search.incumbent(released).params, before.params, rtol=1e-4, atol=1e-5)
    after, _ = search.step(state)
    assert after.released and len(after.inner.center) == model.layout.num_params
    assert not torch.equal(search.incumbent(after).params, before.params)


@pytest.mark.slow
def test_runs_from_the_pool_with_release_resume_and_keep_apart(done, tmp_path, capsys):
    command = ["--checkpoint", done.summary["checkpoint"], "--task", "height", "--budget", "12000", *SEARCH]
    more = ["--start", "pool_best", "--release_decoder_at", "6000", "--logs", str(tmp_path)]
    finetune.main([*command, *more])
    first = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert first.name == "pgpe-small-k2-seed0-pool_best-release6000-seed0"
    finetune.main([*command, *more])
    assert reused(capsys.readouterr().out) == "1"
    finetune.main([*command, "--start", "pool_best", "--anchor", "false", "--logs", str(tmp_path)])
    assert (
        Path(capsys.readouterr().out.strip().splitlines()[-1]).name == "pgpe-small-k2-seed0-pool_best-unanchored-seed0"
    )
    finetune.main([*command, "--start", "pool_steady", "--logs", str(tmp_path)])
    steady = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert steady.name == "pgpe-small-k2-seed0-pool_steady-seed0"
    assert json.loads((steady / "identity.json").read_text())["steady"] == steady_settings()
    finetune.main([*command, "--logs", str(tmp_path)])
    assert Path(capsys.readouterr().out.strip().splitlines()[-1]).name == "pgpe-small-k2-seed0-seed0"


def test_old_runs_keep_their_identity():
    """Settings that did not exist do not change the digest of a run that does not use them."""
    assert not {"start", "release_decoder_at"} & set(SearchSettings().identity())
    changed = dataclasses.replace(SearchSettings(), start="pool_best", release_decoder_at=5).identity()
    assert changed["anchor"] and "anchor" not in SearchSettings().identity()
    # Weights need no anchor, so what was found before there was one is found again.
    assert "anchor" not in SearchSettings(algorithm="parameter_pgpe", start="pool_best").identity()
    assert changed["start"] == "pool_best" and changed["release_decoder_at"] == 5 and "starts" not in changed
    assert "release_decoder_at" in SearchSettings(algorithm="gradient").identity()


def test_both_files_of_settings_agree():
    import yaml

    from lightning_pz.pool.grown_recipe import GrownRecipe

    collected = yaml.safe_load((conf_dir() / "collect-grown.yaml").read_text())
    fitted = yaml.safe_load((conf_dir() / "fit.yaml").read_text())["data"]["grown"]
    assert collected == fitted == dataclasses.asdict(GrownRecipe())


@pytest.mark.slow
def test_a_search_begins_at_the_best_of_the_pool_on_a_task_that_nobody_thought_of(done, tmp_path, monkeypatch):
    """By the real command, for both starts and `bo`; the pool is replayed once for all of them."""
    (tmp_path / "afterthought.py").write_text(
        "def middle(transition):\n    return -abs(transition.after.positions[:, 0])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    task, replayed = "afterthought:middle", []
    original = ranking_module.rank_pool
    monkeypatch.setattr(ranking_module, "rank_pool", lambda *a, **named: replayed.append(1) or original(*a, **named))
    model, pool = load_autoencoder(done.summary["checkpoint"]), read_pool(Path(done.summary["pool"]))
    returns = replayed_returns(pool, np.arange(len(pool)), {task: find_task("MountainCarContinuous-v0", task)})[:, 0]
    common = ["--checkpoint", done.summary["checkpoint"], "--task", task, "--budget", "9000", "--logs", str(tmp_path)]
    for words in (["--start", "pool_best"], ["--start", "pool_top"], ["--start", "pool_best", "--algorithm", "bo"]):
        finetune.main([*common, *SEARCH, *words])
    assert len(replayed) == 1 and len(list((tmp_path / "rankings").glob("*.npz"))) == 1
    settings = SearchSettings(algorithm="parameter_pgpe", task=task, start="pool_best")
    _, search = build_search(model, settings, 1, logs=str(tmp_path))
    assert torch.equal(search.incumbent(search.begin()).params, pool.params(np.array([returns.argmax()]))[0])
    identities = [json.loads(path.read_text()) for path in tmp_path.glob("finetune/*/*/*/identity.json")]
    assert len(identities) == 3
    for identity in identities:
        assert identity["pool"] == pool.digest and identity["ranking"]["first"] and identity["task_source"]


def test_a_checkpoint_knows_a_grown_pool_by_its_weights(grown):
    """Numbers of policies are 0, 1, 2, ... in every growth; an earlier version kept the digest of the weights alone."""
    repeated = {key: grown.meta[key] for key in ("env", "layout", "prior", "observation_mean", "observation_std")}
    probe = grown.arrays["states"][: grown.meta["states"]["probe"]].tolist()
    new = {**repeated, "probe_states": probe, "pool": describe_pool(grown)}
    assert is_pool_of(grown, new)
    old_env = {key: value for key, value in new["env"].items() if key not in ("kwargs", "source")}
    for name, same in (("params", True), ("indices", False)):
        digest = grown.meta["arrays"][name]["sha256"]
        assert is_pool_of(grown, new | {"env": old_env, "pool": {"folder": "", "digest": digest}}) is same
