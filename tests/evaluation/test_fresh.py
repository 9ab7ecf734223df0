"""The best policies on episodes that did not choose them: the same as Gymnasium's, and free of the winner's luck."""

import json

import gymnasium
import numpy as np
import pytest
import torch

from lightning_pz.common.statistics import mean_interval
from lightning_pz.envs.episode_seeds import TEST_SEEDS
from lightning_pz.evaluate import main
from lightning_pz.evaluation.fresh import FRESH_SEED, best_of, fresh_seeds
from lightning_pz.evaluation.groups import EvaluateConfig, read_returns
from lightning_pz.policy.saved import load_policy


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    arguments = ["--policies", "8", "--episodes", "2", "--draws", "20", "--best", "3", "--fresh_episodes", "3"]
    main(["--checkpoint", fitted.summary["checkpoint"], "--logs", str(logs), *arguments])
    (summary,) = (logs / "evaluate" / "mountaincar").glob("*/summary.json")
    return summary.parent


@pytest.mark.slow
def test_the_best_of_the_pool_is_chosen_by_the_table_and_earns_what_gymnasium_says(folder):
    summary = json.loads((folder / "summary.json").read_text())
    plays = read_returns(folder / "returns.csv")
    policy = load_policy(folder / "best_in_pool" / "standard.npz")
    env = gymnasium.make("MountainCarContinuous-v0")

    def play(seed):
        observation, _ = env.reset(seed=seed)
        total, ended = 0.0, False
        while not ended:
            action = policy.act(torch.as_tensor(observation)[None])[0].numpy()
            observation, reward, terminated, truncated, _ = env.step(action)
            total, ended = total + float(reward), terminated or truncated
        return total

    chosen = best_of(plays.returns["pool"]["standard"])
    assert play(1_000_000) == pytest.approx(plays.returns["pool"]["standard"][chosen, 0], abs=1e-3)
    fresh = [play(FRESH_SEED + number) for number in range(3)]
    env.close()
    assert summary["standard/best_in_pool_fresh"] == pytest.approx(np.mean(fresh), abs=1e-3)
    assert min(fresh) - 1e-3 <= summary["standard/best_in_pool_fresh_low"]
    assert summary["standard/best_in_pool_fresh_high"] <= max(fresh) + 1e-3
    assert {path.stem for path in (folder / "best_in_pool").iterdir()} == {"standard", "left", "speed", "height"}


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
