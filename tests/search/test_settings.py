"""Settings outside their range are refused in a sentence; identities hold what decides a result."""

import dataclasses

import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.common.identity import digest
from lightning_pz.search.algorithm_settings import (
    BaselineSettings,
    CmaesSettings,
    GradientSettings,
    OffPolicySettings,
    PgpeSettings,
    RandomLatentSettings,
)
from lightning_pz.search.settings import SearchSettings


@pytest.mark.parametrize(
    "kind, values, sentence",
    [
        (SearchSettings, {"start": "pool_bset"}, "Did you mean 'pool_best'"),
        (SearchSettings, {"budget": 0}, "--budget expects at least 1, but got 0"),
        (SearchSettings, {"test_episodes": 1}, "--test_episodes expects at least 2"),
        (SearchSettings, {"evaluate_every": 0}, "--evaluate_every expects"),
        (SearchSettings, {"start_share": 0.0}, "--start_share expects"),
        (SearchSettings, {"checkpoint_seconds": -1.0}, "--checkpoint_seconds expects"),
        (SearchSettings, {"algorithm": "cmaes", "release_decoder_at": 5}, "goes with --algorithm gradient"),
        (SearchSettings, {"algorithm": "gradient", "starts": 2}, "at most --starts"),
        (SearchSettings, {"algorithm": "td3", "space": "weights", "replay": 1.5}, "--replay expects a share"),
        (SearchSettings, {"algorithm": "td3", "space": "weights", "replay": float("nan")}, "--replay expects a share"),
        (
            SearchSettings,
            {"algorithm": "ppo", "space": "weights"},
            "--space weights goes with --algorithm td3 or sac or tqc",
        ),
        (SearchSettings, {"algorithm": "td3", "start": "pool_best"}, "--start pool_best goes with --space"),
        (SearchSettings, {"algorithm": "td3", "replay": 0.2}, "--replay 0.2 goes with --space"),
        (
            SearchSettings,
            {"algorithm": "sac", "space": "latent", "hyperparameters": "zoo"},
            "do not go with --space latent",
        ),
        *[
            (
                SearchSettings,
                {
                    "algorithm": "td3",
                    "space": space,
                    "replay": replay,
                    "off_policy": OffPolicySettings(best=0, random=0),
                },
                f"--replay {replay:g} learns from the pool's episodes, but --off_policy.best and --off_policy.random are both 0",
            )
            for space, replay in (("latent", 0.5), ("weights", 1.0), ("own", 0.5))
        ],
        *[
            (
                SearchSettings,
                {
                    "algorithm": "sac",
                    "space": "latent",
                    "start": start,
                    "replay": 1.0,
                    "off_policy": OffPolicySettings(critic_updates=0, joint_updates=0),
                },
                "--replay 1 learns from old data alone, but .* are both 0, so that nothing would be learned",
            )
            for start in ("draws", "pool_best")
        ],
        (OffPolicySettings, {"critics": 0}, "--off_policy.critics expects at least 1"),
        (OffPolicySettings, {"hidden": []}, "--off_policy.hidden expects at least 1"),
        (OffPolicySettings, {"critic_updates": -1}, "--off_policy.critic_updates expects at least 0"),
        (OffPolicySettings, {"old_steps": 0}, "--off_policy.old_steps expects at least 1"),
        (OffPolicySettings, {"latent_rate": 0.0}, "--off_policy.latent_rate expects a number above 0"),
        (OffPolicySettings, {"noise": -0.1}, "--off_policy.noise expects a number of at least 0"),
        (OffPolicySettings, {"log_std": float("inf")}, "--off_policy.log_std expects a number"),
        (OffPolicySettings, {"discount": 1.1}, "--off_policy.discount expects a number above 0 and at most 1"),
        (PgpeSettings, {"population": 5}, "even number"),
        (PgpeSettings, {"sigma": float("nan")}, "--pgpe.sigma expects"),
        (PgpeSettings, {"momentum": 1.0}, "--pgpe.momentum expects a share"),
        (PgpeSettings, {"sigma_rate": -1.0}, "--pgpe.sigma_rate expects"),
        (CmaesSettings, {"population": 1}, "--cmaes.population expects"),
        (RandomLatentSettings, {"episodes": 0}, "--random_latent.episodes expects"),
        (GradientSettings, {"episodes": 1}, "--gradient.episodes expects at least 2"),
        (GradientSettings, {"discount": 1.1}, "--gradient.discount expects"),
        (BaselineSettings, {"chunk": 0}, "--baselines.chunk expects at least 1"),
    ],
)
def test_settings_outside_their_range(kind, values, sentence):
    with pytest.raises(UserError, match=sentence):
        kind(**values)


def test_old_data_and_updates_may_be_none_where_nothing_depends_on_them():
    none = OffPolicySettings(best=0, random=0, critic_updates=0, joint_updates=0)
    SearchSettings(algorithm="td3", space="weights", replay=0.0, off_policy=none)
    SearchSettings(off_policy=none)
    kept = OffPolicySettings(best=1, random=0, critic_updates=0, joint_updates=0)
    SearchSettings(algorithm="td3", space="weights", start="pool_best", replay=0.5, off_policy=kept)
    for more in ({"critic_updates": 0}, {"joint_updates": 0}):  # the other is many
        SearchSettings(algorithm="td3", space="weights", replay=1.0, off_policy=OffPolicySettings(**more))


def test_starts_take_their_share_of_the_budget_at_most():
    settings = SearchSettings(budget=200_000, starts=200, start_share=0.2)
    assert settings.count_starts(999) == 40 and settings.count_starts(50) == 200
    assert dataclasses.replace(settings, start_episodes=4).count_starts(999) == 10
    assert dataclasses.replace(settings, budget=10).count_starts(999) == 1
    assert dataclasses.replace(settings, budget=10, algorithm="gradient").count_starts(999) == 4


def test_identity_holds_what_decides_the_result_and_nothing_else():
    base = SearchSettings()
    same = dataclasses.replace(base, checkpoint_seconds=1.0, cmaes=CmaesSettings(sigma=9.0))
    other = dataclasses.replace(base, pgpe=PgpeSettings(sigma=9.0))
    assert base.identity() == same.identity() != other.identity()
    assert "budget" in base.identity() and "starts" not in SearchSettings(algorithm="sac").identity()


def test_identity_holds_a_space_only_where_there_is_one():
    plain, spaced = SearchSettings(algorithm="td3"), SearchSettings(algorithm="td3", space="weights")
    assert not {"space", "replay", "off_policy"} & set(plain.identity())
    assert {"space", "replay", "off_policy", "starts"} <= set(
        spaced.identity()
    ) and "baselines" not in spaced.identity()
    changed = dataclasses.replace(spaced, off_policy=OffPolicySettings(batch=128))
    assert changed.identity() != spaced.identity()
    assert dataclasses.replace(plain, off_policy=OffPolicySettings(batch=128)).identity() == plain.identity()
    assert spaced.reads_pool and not dataclasses.replace(spaced, replay=0.0).reads_pool


def test_what_is_null_depends_on_whether_there_are_old_data_alone():
    null = OffPolicySettings()
    alone, beside = null.for_replay(1.0), null.for_replay(0.5)
    assert (alone.critic_updates, alone.joint_updates, alone.actor_rate, alone.tie) == (2500, 42_500, 1e-3, 0.1)
    assert (beside.critic_updates, beside.joint_updates, beside.actor_rate, beside.tie) == (10_000, 5_000, 3e-4, None)
    given = OffPolicySettings(critic_updates=0, joint_updates=7, actor_rate=0.5, tie=0.0, batch=3)
    for share in (0.5, 1.0):
        assert {key: vars(given.for_replay(share))[key] for key in vars(given)} == {
            **vars(given), "hidden": given.hidden
        }  # fmt: skip


def test_identity_holds_what_the_numbers_are_and_is_as_it_was_beside_new_steps():
    alone = SearchSettings(algorithm="td3", space="weights", start="pool_best", replay=1.0)
    same = dataclasses.replace(alone, off_policy=OffPolicySettings(joint_updates=42_500, tie=0.1))
    assert alone.identity() == same.identity()
    for more in ({"joint_updates": 5000}, {"old_steps": 1}, {"tie": 0.0}):
        assert dataclasses.replace(alone, off_policy=OffPolicySettings(**more)).identity() != alone.identity()
    none = OffPolicySettings(critic_updates=0, joint_updates=0)
    found = {
        "07fb4b84beed7aa8": SearchSettings(algorithm="td3", space="weights", start="pool_best"),
        "f6475656b3ed041e": SearchSettings(algorithm="sac", space="own"),
        "77d1ce86e28b41d3": SearchSettings(algorithm="tqc", space="latent", replay=0.0, off_policy=none),
    }
    # Apart from the rules, which settings do not change.
    as_it_was = {key: {k: v for k, v in one.identity().items() if k != "rules"} for key, one in found.items()}
    assert {key: digest(identity)[:16] for key, identity in as_it_was.items()} == {key: key for key in found}
    (first, *_) = found.values()
    assert dataclasses.replace(first, off_policy=OffPolicySettings(old_steps=2)).identity() != first.identity()
    assert dataclasses.replace(first, off_policy=OffPolicySettings(old_steps=1)).identity() == first.identity()


def test_identities_are_those_of_version_0_1():
    """Finished runs are found again by them."""
    found = {
        "d7a5f17a8cc46676": SearchSettings(),
        "ccea7a80c0bb1756": SearchSettings(start="pool_top"),
        "642f362ec98751db": SearchSettings(algorithm="cmaes", behavior_step=0.1),
        "9e075fcc60395f26": SearchSettings(algorithm="gradient", release_decoder_at=7),
        "b3e65d9942cb00b3": SearchSettings(algorithm="parameter_pgpe", start="a/b.npz"),
        "c1e3254863a97848": SearchSettings(algorithm="sac"),
    }
    # Apart from the rules, which settings do not change.
    as_it_was = {key: {k: v for k, v in one.identity().items() if k != "rules"} for key, one in found.items()}
    assert {key: digest(identity)[:16] for key, identity in as_it_was.items()} == {key: key for key in found}
