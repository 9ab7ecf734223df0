"""The best policies on episodes that did not choose them: the same as Gymnasium's, and free of the winner's luck."""

import json

import gymnasium
import numpy as np
import pytest
import torch

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.statistics import mean_interval
from lightning_pz.envs.episode_seeds import TEST_SEEDS
from lightning_pz.evaluate import main
from lightning_pz.evaluation.fresh import FRESH_SEED, best_of, fresh_seeds, middle_of
from lightning_pz.evaluation.groups import EvaluateConfig, find_pool, held_out_rows, read_returns
from lightning_pz.evaluation.metrics import recovery_best, recovery_best_fresh
from lightning_pz.policy.saved import SavedPolicy, load_policy


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    arguments = ["--policies", "8", "--episodes", "2", "--draws", "20", "--best", "3", "--fresh_episodes", "3"]
    main(["--checkpoint", fitted.summary["checkpoint"], "--logs", str(logs), *arguments])
    (summary,) = (logs / "evaluate" / "mountaincar").glob("*/summary.json")
    return summary.parent


def play(policy, seed):
    env = gymnasium.make("MountainCarContinuous-v0")
    observation, _ = env.reset(seed=seed)
    total, ended = 0.0, False
    while not ended:
        action = policy.act(torch.as_tensor(observation)[None])[0].numpy()
        observation, reward, terminated, truncated, _ = env.step(action)
        total, ended = total + float(reward), terminated or truncated
    env.close()
    return total


@pytest.mark.slow
def test_the_best_of_the_pool_is_chosen_by_the_table_and_earns_what_gymnasium_says(folder):
    summary = json.loads((folder / "summary.json").read_text())
    plays = read_returns(folder / "returns.csv")
    policy = load_policy(folder / "best_in_pool" / "standard.npz")
    chosen = best_of(plays.returns["pool"]["standard"])
    assert play(policy, 1_000_000) == pytest.approx(plays.returns["pool"]["standard"][chosen, 0], abs=1e-3)
    fresh = [play(policy, FRESH_SEED + number) for number in range(3)]
    assert summary["standard/best_in_pool_fresh"] == pytest.approx(np.mean(fresh), abs=1e-3)
    assert min(fresh) - 1e-3 <= summary["standard/best_in_pool_fresh_low"]
    assert summary["standard/best_in_pool_fresh_high"] <= max(fresh) + 1e-3
    assert {path.stem for path in (folder / "best_in_pool").iterdir()} == {"standard", "left", "speed", "height"}


@pytest.mark.slow
def test_recovery_on_fresh_episodes_is_over_what_the_middle_policy_earns_there(folder, fitted, capsys):
    summary, plays = json.loads((folder / "summary.json").read_text()), read_returns(folder / "returns.csv")
    model = load_autoencoder(fitted.summary["checkpoint"])
    pool = find_pool(model)
    (middle,) = middle_of(plays.returns["pool"]["standard"])
    params = pool.params(held_out_rows(model, pool, 8)[[middle]])[0]
    floor = np.mean([play(SavedPolicy.of(model.policy, params), FRESH_SEED + number) for number in range(3)])
    latent, best = summary["standard/best_latent_fresh"], summary["standard/best_in_pool_fresh"]
    assert summary["standard/recovery_best_fresh"] == pytest.approx((latent - floor) / (best - floor), abs=1e-3)
    assert summary["standard/recovery_best_fresh_interval"] == "range"
    # An evaluation of an earlier version is found as it is, and says what it lacks.
    older = {key: value for key, value in summary.items() if "recovery_best_fresh" not in key}
    (folder / "summary.json").write_text(json.dumps(older))
    arguments = ["--policies", "8", "--episodes", "2", "--draws", "20", "--best", "3", "--fresh_episodes", "3"]
    main(["--checkpoint", fitted.summary["checkpoint"], "--logs", str(folder.parents[2]), *arguments])
    assert json.loads((folder / "summary.json").read_text()) == older
    assert "of an earlier version, without the recovery of the best, fresh" in capsys.readouterr().out
    (folder / "summary.json").write_text(json.dumps(summary))


def test_noise_draws_recovery_to_1_where_it_chose_and_not_on_fresh_episodes():
    """A tenth of the pool is worth 10 and of the latents 5, all others 0; noise is twice the pool's deviation."""
    generator, chose, fresh, held = np.random.default_rng(0), [], [], []
    worth = {name: np.repeat([0.0, best], [450, 50]) for name, best in (("pool", 10), ("latents", 5))}
    for _ in range(200):
        played = {name: own[:, None] + 6 * generator.normal(size=(500, 4)) for name, own in worth.items()}
        chose.append(recovery_best(played["pool"].mean(1), played["latents"].mean(1)))
        winners = [worth[name][best_of(played[name])] + 6 * generator.normal(size=100) for name in worth]
        middle = worth["pool"][middle_of(played["pool"])]
        found = recovery_best_fresh(*winners, (middle[:, None] + 6 * generator.normal(size=(10, 100))).mean(0))
        fresh.append(found.value)
        held.append(found.low <= 0.5 <= found.high)
        assert found.kind == "student"
    assert np.mean(chose) > 0.65 and min(chose) > 0.5
    assert np.mean(fresh) == pytest.approx(0.5, abs=0.05)
    assert np.mean(held) > 0.85  # the rest are of worse policies, which the noise chose


def test_recovery_on_fresh_episodes_by_hand_and_where_there_is_none():
    pool, decoded, floor = np.array([5.0, 7, 9, 11]), np.array([2.0, 5, 6, 9]), np.array([1.0, 3, 3, 5])
    found = recovery_best_fresh(pool, decoded, floor)
    assert found.value == pytest.approx((5.5 - 3) / (8 - 3)) and found.low < found.value < found.high
    for nothing in (recovery_best_fresh(floor, decoded, floor), recovery_best_fresh(pool, decoded * np.nan, floor)):
        assert np.isnan(nothing[:3]).all() and nothing.kind == "none"


def test_the_middle_of_a_pool_is_near_its_median_and_has_no_broken_policies():
    means = np.array([0.0, 1, 2, 3, 100, np.nan] * 4)
    assert sorted(middle_of(means[:, None])) == [2, 8]  # a tenth of 24, the first of equals
    assert len(middle_of(np.zeros((500, 4)))) == 10 and list(middle_of(np.array([[3.0], [1], [2]]))) == [2]


def test_the_search_measures_what_it_found_on_the_same_episodes():
    assert FRESH_SEED == TEST_SEEDS


@pytest.mark.parametrize("first", [0, FRESH_SEED - 99, FRESH_SEED - 1, FRESH_SEED, FRESH_SEED + 4, FRESH_SEED + 5])
def test_episodes_that_chose_are_never_fresh_again(first):
    config = EvaluateConfig(episodes=3, episode_seed=first, fresh_episodes=5)
    fresh = fresh_seeds(config)
    assert len(set(fresh)) == 5 and not set(fresh) & set(config.seeds)
    assert fresh[0] == FRESH_SEED or FRESH_SEED - 3 < first < FRESH_SEED + 5


def test_of_equal_policies_the_best_only_seems_better():
    """2,000 policies whose true mean is 0: the chosen one's own episodes say 3 standard errors, fresh ones say 0."""
    noise = np.random.default_rng(0).standard_normal((2000, 10))
    best = best_of(noise)
    assert noise[best].mean() == noise.mean(1).max() > 0.9
    fresh = np.random.default_rng(1).standard_normal(400)
    mean, low, high, _ = mean_interval(fresh)
    assert low < 0 < high and mean == fresh.mean()
    assert (high - low) / 2 == pytest.approx(1.96 * fresh.std() / 20, rel=0.05)


def test_a_policy_that_breaks_is_never_the_best_and_a_broken_episode_has_no_interval():
    assert best_of(np.array([[1.0, 2.0], [np.nan, 100.0], [3.0, 1.0]])) == 2
    assert np.isnan(mean_interval(np.array([1.0, np.nan]))[:3]).all()
