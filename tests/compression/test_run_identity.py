"""A run is found again where all that decides its result is the same, though it was asked for in other words."""

import dataclasses
import importlib.metadata
import json
import shutil

import pytest

from lightning_pz import compress
from lightning_pz.common.errors import UserError
from lightning_pz.common.identity import digest
from lightning_pz.compression.environments import find_world
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
from lightning_pz.jobs import compress as compressing
from tests.compression.conftest import LANDER, PPO_TINY, TINY, run

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


def test_a_run_under_another_version_is_not_found_and_one_of_unknown_versions_is(distilling, capsys, installed):
    command = distilling("int8")
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
