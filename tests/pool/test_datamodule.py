"""Splits that hold out policies and states; batches that are pure functions of (seed, step)."""

import numpy as np
import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import EnvConfig, PolicyConfig
from lightning_pz.policy import act_shared
from lightning_pz.pool.batches import TrainBatches
from lightning_pz.pool.datamodule import PolicyPoolDataModule


@pytest.fixture
def data(pool):
    return make(pool)


def make(pool, **kwargs):
    data = PolicyPoolDataModule(
        EnvConfig("car", "MountainCarContinuous-v0"), PolicyConfig("tiny", [8, 8]), pool=str(pool.folder),
        batch_size=16, states_per_step=5, steps_per_epoch=7, val_share=0.1, test_share=0.1, **kwargs,
    )  # fmt: skip
    data.prepare_data()
    data.setup()
    return data


def test_policies_and_states_are_held_out(data, pool):
    parts = [data.train, data.val, data.test]
    rows = np.concatenate([part.rows for part in parts])
    assert sorted(rows.tolist()) == list(range(len(pool)))
    states = [{tuple(s) for s in part.states.tolist()} for part in parts]
    assert not states[0] & states[1] and not states[0] & states[2] and not states[1] & states[2]


def test_a_batch_is_what_its_policies_do(pool):
    data = make(pool, with_params=True)
    batch = next(iter(data.train_dataloader()))
    assert batch.fingerprints.shape == (16, 16, 1) and batch.actions.shape == (16, 5, 1)
    expected = act_shared(data.layout, batch.params, batch.states)
    torch.testing.assert_close(batch.actions, expected, atol=5e-4, rtol=5e-4)
    held_out = next(iter(data.val_dataloader()[0]))
    expected = act_shared(data.layout, held_out.params, held_out.states)
    torch.testing.assert_close(held_out.actions, expected, atol=5e-4, rtol=5e-4)
    torch.testing.assert_close(held_out.mean_actions, data.val.all_actions().mean(0))


def test_weights_are_left_out_unless_asked_for(data):
    assert next(iter(data.train_dataloader())).params.shape == (16, 0)


def sampled(epoch, seed=0, ranks=(1, 0), batch=16):
    sampler = TrainBatches(50, 24, batch, 5, 7, seed)
    sampler.ranks, sampler.rank = ranks
    sampler.set_epoch(epoch)
    return list(sampler)


def test_steps_are_a_pure_function_of_seed_and_step():
    for first, second in zip(sampled(3), sampled(3), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(sampled(3)[0][0], sampled(3, seed=1)[0][0])
    assert not np.array_equal(sampled(0)[0][1], sampled(0)[1][1])


def test_every_policy_comes_once_before_any_comes_again():
    drawn = np.concatenate([rows for epoch in range(3) for rows, _ in sampled(epoch)])
    for start in range(0, len(drawn) - 50, 50):
        assert sorted(drawn[start : start + 50].tolist()) == list(range(50))


def test_two_processes_share_a_step():
    whole = sampled(1, batch=32)
    halves = [sampled(1, ranks=(2, rank)) for rank in (0, 1)]
    for (rows, columns), (rows0, columns0), (rows1, columns1) in zip(whole, *halves, strict=True):
        assert sorted(rows.tolist()) == sorted([*rows0.tolist(), *rows1.tolist()])
        assert np.array_equal(columns, columns0) and np.array_equal(columns, columns1)


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"val_share": 0.6}])
def test_bad_settings_are_refused(change):
    with pytest.raises(UserError, match=r"--data\.\w+ expects"):
        PolicyPoolDataModule(EnvConfig("car", "MountainCarContinuous-v0"), PolicyConfig(), **change)
