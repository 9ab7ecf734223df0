"""A run is found again where all that decides its result is the same, though it was asked for in other words."""

import dataclasses
import importlib.metadata
import json
import shutil

import pytest

from lightning_pz import compress
from lightning_pz.common.errors import UserError
from lightning_pz.common.identity import digest
from lightning_pz.compression import environments, fixed_rules, measures, run_identity, seeds
from lightning_pz.compression.environments import World, find_world
from lightning_pz.compression.methods import l0, quantize
from lightning_pz.compression.methods.schedule import Ramp
from lightning_pz.compression.run_identity import compression_identity
from lightning_pz.compression.settings import (
    CompressSettings,
    DistillSettings,
    Int4Settings,
    Int8Settings,
    L0Settings,
    LowRankSettings,
)
from lightning_pz.compression.training import distill
from lightning_pz.jobs import compress as compressing
from tests.compression.conftest import PPO_TINY, TINY, run

_KWARGS = '[{}, [["FiniteOnly", "lightning_pz.envs.guarded:FiniteOnly", null]]]'
LANDER = World("LunarLander-v3", 1000, (8,), 4, True, content={
    "observation": [[8], "float32", "13bb5969e7550dc9d11bbb5d4798a7a36a204fecd905643dc4f8782b58ab0a1f"],
    "action": ["Discrete(4)"], "kwargs": _KWARGS, "source": "",
})  # fmt: skip
HOPPER = World("Hopper-v5", 1000, (11,), 3, False, (-1.0,) * 3, (1.0,) * 3, content={
    "observation": [[11], "float64", "0c0b98c8243d494c27876199cc1351e38b2b47b04ad8b7869f58d173f44cfc21"],
    "action": [[3], "float32", "e8974a29622b66d1e87e17aa4dfa5574ab35116af5e714ca382357ce7d0305b5"],
    "kwargs": _KWARGS, "source": "",
})  # fmt: skip
GAME = World("MinAtar/Breakout-v1", 1000, (4, 10, 10), 3, True, content={"source": ""})
DENSE = {
    LANDER: "8fdc6e0303c70031e5a636ba970180f9635e897ea3bfc016369c70b61fe4586b",
    HOPPER: "5ed80812279f0e2832e686b57d99f575cb8351a8b896f154f994f02b2c73dc01",
    GAME: "5ed80812279f0e2832e686b57d99f575cb8351a8b896f154f994f02b2c73dc01",  # any would do: no test reads it
}
"""Digests of the dense networks of the runs below."""
GATED = LowRankSettings(rank=1)


def known(**settings) -> dict:
    return dict(compression_identity(LANDER, CompressSettings(**settings)).content)


@pytest.fixture
def policy(write_policy) -> str:
    return str(write_policy())


@pytest.mark.parametrize(
    ("used", "unused"),
    [
        (
            {"method": "int8"},
            {"sparsity": 0.5, "distribution": "uniform", "steps": 5, "algorithm": "ppo", "model": PPO_TINY,
             "l0": L0Settings(9.0), "low_rank": LowRankSettings(0.5), "ramp": Ramp(0.1, 0.5, 7)},
        ),
        ({"method": "none"}, {"int8_share": 0.9}),
        ({"method": "prune"}, {"int8_share": 0.9, "l0": L0Settings(9.0), "low_rank": GATED}),
        ({"method": "l0"}, {"ramp": Ramp(events=7), "sparsity": 0.5, "low_rank": GATED}),
        ({"method": "low_rank"}, {"ramp": Ramp(0.1, 0.8, 7), "l0": L0Settings(9.0)}),
        ({"method": "low_rank", "low_rank": GATED}, {"low_rank": LowRankSettings(0.5, rank=1)}),
        ({"method": "prune+low_rank+int4"}, {"method": "int4+prune+low_rank"}),
    ],
)  # fmt: skip
def test_what_a_method_does_not_use_decides_nothing(used, unused, policy):
    assert known(policy=policy, **used) == known(policy=policy, **(used | unused))
    trained = {key: value for key, value in unused.items() if key not in ("steps", "algorithm", "model")}
    others = {"distill": DistillSettings(steps=5), "model": PPO_TINY}
    assert known(**used) == known(**(used | trained | others))


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "prune"}, {"method": "prune+int8"}, {"sparsity": 0.5}, {"distribution": "uniform"}, {"seed": 1}, {"episodes": 7},
        {"int8_share": 0.4}, {"int4": Int4Settings(False)}, {"ramp": Ramp(0.1)}, {"ramp": Ramp(end=0.7)}, {"ramp": Ramp(events=7)},
        {"low_rank": GATED}, {"low_rank": LowRankSettings(0.5)}, {"distill": DistillSettings(steps=5)}, {"activations": True},
    ],
)  # fmt: skip
def test_what_a_method_uses_decides(changed, policy):
    plain = {"policy": policy, "method": "prune+low_rank+int4"}
    assert known(**plain) != known(**(plain | changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"algorithm": "ppo"}, {"steps": 7}, {"checkpoint_every": 5}, {"model": {"sac": {"batch_size": 7}}}, {"seed": 1},
        {"l0": L0Settings(9.0)}, {"l0": L0Settings(start=0.7)}, {"ramp": Ramp(0.1)}, {"ramp": Ramp(end=0.7)},
        {"int8": Int8Settings(True)}, {"int8_share": 0.4},
    ],
)  # fmt: skip
def test_what_a_training_uses_decides(changed):
    assert known(method="l0+int8") != known(**({"method": "l0+int8"} | changed))


def test_one_run_under_other_words_is_found_and_has_one_result(write_policy, point_mass, tmp_path, capsys, monkeypatch):
    def command(method, logs="logs"):
        return ["--env", name, "--policy", policy, "--method", method, "--logs", tmp_path / logs]

    name, policy = point_mass(limit=10), write_policy()
    plain, _ = run(capsys, *command("int8"))
    pruned, summary = run(capsys, *command("int8+prune"), "--sparsity", 0.5)
    # The order of the parts is in no file either.
    other, again = run(capsys, *command("prune+int8", "elsewhere"), "--sparsity", 0.5)
    assert pruned.name == other.name == "distill-prune-int8-0.5-seed0" and summary["method"] == again["method"]
    assert (pruned / "policy.lpz").read_bytes() == (other / "policy.lpz").read_bytes()
    monkeypatch.setattr(compressing, "distill", lambda *_, **__: pytest.fail("repeated"))
    unused = ["--sparsity", 0.5, "--steps", 5, "--algorithm", "ppo", "--l0.penalty", 9, "--low_rank.energy", 0.5]
    assert run(capsys, *command("int8"), *unused)[0] == plain
    assert run(capsys, *command("prune+int8"), "--sparsity", 0.5)[0] == pruned


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "unused"),
    [
        ("none", ["--int8_share", 0.9, "--ramp.end", 0.4]),
        ("prune", ["--int8_share", 0.9, "--l0.penalty", 9, "--low_rank.rank", 1]),
        ("l0", ["--ramp.events", 3, "--sparsity", 0.2]),
        ("low_rank", ["--ramp.begin", 0.05, "--ramp.events", 3, "--l0.learning_rate", 9]),
        ("low_rank+int8", ["--low_rank.energy", 0.4]),
    ],
)
def test_what_decides_nothing_changes_no_file(method, unused, write_policy, point_mass, tmp_path, capsys):
    one = ["--env", point_mass(limit=10), "--policy", write_policy(), "--method", method]
    one += ["--low_rank.rank", 1] if "int8" in method else []
    folders = [run(capsys, *one, *more, "--logs", tmp_path / str(len(more)))[0] for more in ([], unused)]
    first, second = ((folder / "policy.lpz").read_bytes() for folder in folders)
    assert folders[0] != folders[1] and first == second


def test_states_of_a_training_are_refused_where_there_is_none(policy, tmp_path):
    with pytest.raises(
        UserError, match="--checkpoint_every saves states of a training, but with --policy there is none"
    ):
        compress.main(
            ["--env", "Pendulum-v1", "--policy", policy, "--checkpoint_every", "5", "--logs", str(tmp_path / "logs")]
        )
    assert not (tmp_path / "logs").exists()


@pytest.fixture
def installed(monkeypatch):
    """Return a function that makes packages seem installed in other versions."""
    real = importlib.metadata.version

    def pretend(**versions):
        monkeypatch.setattr(importlib.metadata, "version", lambda name: versions.get(name) or real(name))

    return pretend


def test_other_versions_of_what_decides_make_another_run(policy, installed):
    trained, distilled = CompressSettings(algorithm="ppo", model=PPO_TINY), CompressSettings(policy=policy)
    before = [compression_identity(LANDER, one).content for one in (trained, distilled)]
    both = (True, True)
    changes = {"stable_baselines3": (True, False), "gymnasium": both, "mujoco": both, "torch": both}
    for package, differs in changes.items():
        installed(**{package: "0.0.1"})
        now = [compression_identity(LANDER, one).content for one in (trained, distilled)]
        assert tuple(one != other for one, other in zip(before, now, strict=True)) == differs
    assert before[0]["versions"].keys() >= {"gymnasium", "mujoco", "stable_baselines3", "torch"}
    told = []
    for build in ("9.9.9", "9.9.9+cpu", "9.9.9+cu128"):
        installed(torch=build)
        told.append(compression_identity(LANDER, distilled).digest)
    assert len({*told}) == 1
    # What simulates an environment, and what makes images of it.
    if "Box2D" in before[1]["versions"]:
        installed(Box2D="0.0.1")
        assert compression_identity(LANDER, distilled).content != before[1]
    pong = dataclasses.replace(LANDER, id="Pong-of-mine", shape=(4, 84, 84))
    installed(**{"opencv-python-headless": "0.0.1"})
    assert compression_identity(pong, distilled).content["versions"]["opencv-python-headless"] == "0.0.1"


def test_a_run_under_another_version_is_not_found_and_one_of_unknown_versions_is(
    write_policy, point_mass, tmp_path, capsys, installed
):
    command = [
        "--env",
        point_mass(limit=10),
        "--policy",
        write_policy(),
        "--method",
        "int8",
        "--logs",
        tmp_path / "logs",
    ]
    first, _ = run(capsys, *command)
    assert run(capsys, *command)[0] == first
    installed(gymnasium="0.0.1")
    second, _ = run(capsys, *command)
    assert second == first.with_name(first.name + "-002")
    assert json.loads((second / "identity.json").read_text())["versions"]["gymnasium"] == "0.0.1"
    # One of before has all settings and no versions in its mark.
    shutil.rmtree(second)
    env, settings, _ = compress.parse_words([*map(str, command), *TINY])
    (first / "identity").write_text(compression_identity(find_world(env.id), settings).earlier[0] + "\n")
    assert run(capsys, *command)[0] == first


def test_a_run_of_before_is_found_by_all_its_settings(policy, point_mass):
    world = find_world(point_mass(limit=10))
    settings = CompressSettings(policy=policy, method="int8+prune", activations=True)
    identity = compression_identity(world, settings)
    # All settings but those that are younger, and no versions.
    plain = dataclasses.asdict(settings) | {
        "policy": identity.content["settings"]["policy"],
        "activations": "calibrated",
    }
    del plain["distill"]["device"]
    whole = {
        "world": identity.content["world"],
        "settings": {k: v for k, v in plain.items() if k not in ("int8", "int4")},
        "sources": {},
    }
    for method in ("int8+prune", "prune+int8"):
        assert digest(whole | {"settings": whole["settings"] | {"method": method}})[:16] in identity.earlier
    assert digest(whole | {"settings": whole["settings"] | {"sparsity": 0.5}})[:16] not in identity.earlier
    assert identity.digest not in identity.earlier


@pytest.mark.parametrize(
    ("world", "words", "mark"),
    [
        (LANDER, "--method=none --algorithm=ppo", "f2f8075b6673f1bd"),
        (LANDER, "--method=prune --algorithm=ppo --sparsity=0.9 --reference=", "ffe7f539f1bf70b1"),
        (LANDER, "--method=l0+low_rank --algorithm=ppo --reference=", "b74ff4f37186414c"),
        (LANDER, "--method=prune --sparsity=0.9 --distill.steps=5000 --policy=", "ed83b5c885f6fb88"),
        (LANDER, "--method=prune+int8 --sparsity=0.9 --distill.steps=5000 --policy=", "9b555c346444ebcf"),
        (HOPPER, "--method=none --algorithm=sac --steps=300000 --checkpoint_every=50000", "5d83adfd3a090a67"),
        (HOPPER, "--method=prune+int8 --sparsity=0.9 --policy=", "d46477a15b250607"),
    ],
)  # fmt: skip
def test_runs_of_the_study_are_found(world, words, mark, identity_of):
    identity = identity_of(world, words)
    assert mark in (identity.digest, *identity.earlier)


@pytest.fixture
def identity_of(tmp_path, monkeypatch):
    """Return a function that gives the identity of a run by its words; a word that ends in `=` gets the dense network."""
    (tmp_path / "model.zip").touch()
    name = {LANDER: "lunarlander", HOPPER: "hopper", GAME: "minatar-breakout"}

    def known(world, words):
        monkeypatch.setattr(run_identity, "file_digest", lambda path: DENSE[world])
        given = [word + str(tmp_path / "model.zip") * word.endswith("=") for word in words.split()]
        _, settings, _ = compress.parse_words(["--env", name[world], *given])
        return compression_identity(world, settings)

    return known


@pytest.mark.parametrize(
    ("world", "words", "mark"),
    [
        (HOPPER, "--method=prune+int8 --sparsity=0.9 --policy=", "5f62d4f44a6e6322"),
        (HOPPER, "--method=prune+int4 --sparsity=0.9 --policy=", "2591e534f74cce05"),
        (HOPPER, "--method=low_rank+int8 --activations=true --policy=", "36f7dba97265d62a"),
        (HOPPER, "--method=none --algorithm=sac --steps=300000 --checkpoint_every=50000", "7ef726c4e7b9247f"),
        (GAME, "--method=prune+int8 --policy=", "4159fdbd4a3e88d9"),
        (GAME, "--method=low_rank --policy=", "f12e1731463210dc"),
        (GAME, "--method=low_rank+int8 --int8.per_channel=true --policy=", "70a82e0e8b5079a7"),
        (GAME, "--method=low_rank+int4 --policy=", "c9d9b106b0956060"),
    ],
)  # fmt: skip
def test_runs_with_versions_and_without_rules_are_found(world, words, mark, identity_of, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")
    identity = identity_of(world, words)
    assert mark in identity.earlier and mark != identity.digest
    # Whatever torch is here, which they do not name.
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.0" if name == "torch" else "1.0")
    assert mark in identity_of(world, words).earlier


@pytest.mark.parametrize(
    ("world", "words", "marks"),
    [
        # Factors of convolutions took one scale each before, and no mark says which of the two a run has.
        (GAME, "--method=low_rank+int8 --policy=", {"975ed7fd01f80342", "1feab72a9b59c429", "2675802fbb5d9abc"}),
        # Scales of 4 bits were float32 at first, when no run kept versions.
        (GAME, "--method=low_rank+int4 --policy=", {"c165a4bd0ae1a534", "f5e969d2d4bb63c3"}),
        (LANDER, "--method=prune+int4 --sparsity=0.9 --distill.steps=5000 --policy=", {"e8dc163f13c2fd6a"}),
    ],
)
def test_runs_that_may_have_followed_another_rule_are_made_again(world, words, marks, identity_of, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")
    identity = identity_of(world, words)
    assert marks.isdisjoint({identity.digest, *identity.earlier})


@pytest.mark.parametrize(
    ("module", "constant", "words"),
    [
        (seeds, "RETURN_SEEDS", "--method=none"),
        (seeds, "FIRST_TRAINED", "--method=none"),
        (seeds, "SEED_MARGIN", "--method=none"),
        (seeds, "HELD_OUT_SEEDS", "--method=none --policy="),
        (environments, "EPISODE_SLOTS", "--method=none"),
        (measures, "BEHAVIOR_EPISODES", "--method=none --policy="),
        (measures, "BEHAVIOR_EPISODES", "--method=prune --reference="),
        (distill, "INT8_RATE", "--method=int8 --policy="),
        (distill, "INT8_RATE", "--method=prune+int4 --policy="),
        (distill, "RANK_STATES", "--method=low_rank --low_rank.error=0.1"),
        (distill, "RANK_STATES", "--method=int8 --activations=true --policy="),
        (quantize, "TRIED_SCALES", "--method=int8 --activations=true --policy="),
        (l0, "TEMPERATURE", "--method=l0"),
        (l0, "UNIFORM_EDGE", "--method=l0 --policy="),
        (l0, "STRETCH", "--method=l0 --policy="),
    ],
)
def test_a_constant_of_the_code_decides(module, constant, words, identity_of, monkeypatch):
    """A run of another value is another one, also one whose identity does not hold the value."""
    before, other = identity_of(HOPPER, words), identity_of(HOPPER, "--method=prune")
    assert before.earlier
    monkeypatch.setattr(module, constant, getattr(module, constant) * 2)
    now = identity_of(HOPPER, words)
    assert {now.digest, *now.earlier}.isdisjoint({before.digest, *before.earlier})
    if module in (distill, quantize, l0, measures):
        assert identity_of(HOPPER, "--method=prune").digest == other.digest


def test_the_number_of_a_rule_decides(identity_of, monkeypatch):
    words = "--method=prune+int8 --policy="
    before, other = identity_of(HOPPER, words), identity_of(HOPPER, "--method=prune --policy=")
    monkeypatch.setitem(fixed_rules._NUMBERS, "int8", 2)
    now = identity_of(HOPPER, words)
    assert {now.digest, *now.earlier}.isdisjoint({before.digest, *before.earlier})
    assert identity_of(HOPPER, "--method=prune --policy=") == other
