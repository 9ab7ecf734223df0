"""Specifications against Gymnasium itself."""

import pytest

from lightning_pz.envs.specs import env_spec, make_env


@pytest.mark.parametrize("env_id", ["MountainCarContinuous-v0", "HalfCheetah-v5", "Pendulum-v1", "Reacher-v5"])
def test_spec_is_gymnasiums(env_id):
    spec, env = env_spec(env_id), make_env(env_id)
    assert (spec.observation_size,) == env.observation_space.shape
    assert (spec.action_size,) == env.action_space.shape
    assert spec.horizon == env.spec.max_episode_steps
    assert spec.action_low == tuple(env.action_space.low.tolist())
    assert spec.has_finite_observations == (env_id in ("MountainCarContinuous-v0", "Pendulum-v1"))
    env.close()


def test_horizon_can_be_cut():
    assert env_spec("HalfCheetah-v5", 300).horizon == 300


def test_making_a_model_writes_no_log(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    make_env("HalfCheetah-v5").close()
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr().err == ""
