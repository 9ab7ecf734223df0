"""The regression is that of scikit-learn, its error that of leaving out, and features tell rewards of states."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from lightning_pz.replay import policy_features as module
from lightning_pz.replay.policy_features import policy_features, ridge_regression
from lightning_pz.replay.replay_episodes import replayed_returns


@pytest.mark.parametrize(("known", "size"), [(60, 12), (20, 45)])
def test_ridge_regression_against_scikit_learn(known, size):
    generator = np.random.default_rng(0)
    features = generator.standard_normal((90, size)).astype(np.float32)
    rows = generator.permutation(90)[:known]
    returns = features[rows] @ generator.standard_normal(size) + generator.standard_normal(known) + 5
    fit = ridge_regression(features, rows, returns)
    errors = []
    for penalty in module._PENALTIES:
        left_out = [
            float(Ridge(penalty).fit(np.delete(features[rows], i, 0).astype(float), np.delete(returns, i)).predict(
                features[rows[i : i + 1]].astype(float))[0])
            for i in range(known)
        ]  # fmt: skip
        errors.append(np.square(returns - left_out).mean())
    # Leaving one out moves the mean of the features a little as well, which the closed form does not redo.
    assert fit.explained == pytest.approx(1 - min(errors) / returns.var(), abs=0.02)
    reference = RidgeCV(module._PENALTIES).fit(features[rows].astype(float), returns)
    np.testing.assert_allclose(fit.predicted, reference.predict(features.astype(float)), rtol=1e-3, atol=1e-3)


def test_equal_returns_are_no_error():
    fit = ridge_regression(np.eye(5, dtype=np.float32), np.arange(4), np.full(4, 3.0))
    assert fit.explained == 1 and np.allclose(fit.predicted, 3)


@pytest.mark.parametrize("env_id", ["Hopper-v5", "MountainCarContinuous-v0"])
def test_features_of_a_pool_tell_a_reward_that_nobody_thought_of(env_id, grown_pools):
    pool = grown_pools(env_id)
    features = policy_features(pool)
    assert features.shape[0] == len(pool) and np.isfinite(features).all()

    def low_and_slow(transition):
        return -transition.after.positions[:, 0] - np.abs(transition.after.velocities[:, 0])

    returns = replayed_returns(pool, np.arange(len(pool)), {"mine": low_and_slow})[:, 0]
    rows = np.arange(0, len(pool), 2)
    predicted = ridge_regression(features, rows, returns[rows]).predicted[1::2]
    assert np.corrcoef(predicted, returns[1::2])[0, 1] > 0.9
