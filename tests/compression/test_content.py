"""A run of compress is known by the content of what decides it."""

import importlib
import sys

import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.compression.environments import World, find_world
from lightning_pz.compression.part_settings import DistillSettings, Int4Settings, Int8Settings
from lightning_pz.compression.run_identity import compression_identity
from lightning_pz.compression.settings import CompressSettings
from tests.compression.conftest import run


def test_other_content_under_the_same_name_is_another_run(write_policy, point_mass, tmp_path, capsys):
    name, policy = point_mass(limit=10), write_policy()

    def known(horizon=None, path=policy, **more):
        return compression_identity(find_world(name, horizon), CompressSettings(policy=str(path), **more)).content

    found = [known(), known(seed=1), known(horizon=9)]
    copy = tmp_path / "copy.npz"
    copy.write_bytes(policy.read_bytes())
    assert known(path=copy) == known(horizon=10) == found[0]
    point_mass(limit=10, bad_at=99)
    found.append(known())
    for edited in ({"limit": 12}, {"limit": 10, "high": 1.5}):
        point_mass(**edited)
        found.append(known())
    assert all(one != other for i, one in enumerate(found) for other in found[:i])

    point_mass(limit=10)
    command = ["--env", name, "--policy", policy, "--method", "int8", "--logs", tmp_path / "logs"]
    folder = run(capsys, *command)[0]
    assert run(capsys, *command)[0] == folder
    write_policy(seed=1)
    assert run(capsys, *command)[0] != folder


def test_scales_count_where_they_are_not_those_of_always(write_policy, point_mass):
    world, policy = find_world(point_mass(limit=10)), str(write_policy())

    def known(method, **more):
        return compression_identity(world, CompressSettings(policy=policy, method=method, **more)).content

    # As runs that are older than the choice are known.
    assert not {"int8", "int4"} & known("int8")["settings"].keys()
    assert known("int4") == known("int4", int4=Int4Settings(True)) != known("int4", int4=Int4Settings(False))
    assert known("int8") != known("int4") and known("int8") != known("int8", int8=Int8Settings(True))


def test_a_device_counts_by_its_kind_where_it_is_not_that_of_always(write_policy, point_mass):
    world, policy = find_world(point_mass(limit=10)), str(write_policy())

    def known(**more):
        settings = CompressSettings(policy=policy, distill=DistillSettings(**more))
        return compression_identity(world, settings).content["settings"]["distill"]

    assert "device" not in known() and known(device="cuda") == known(device="cuda:1") != known()


def test_a_class_of_ones_own_counts_by_its_source(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    world, settings = find_world("CartPole-v1"), []
    for text in ("class Extra:\n    size = 1\n", "class Extra:\n    size = 2\n"):
        (tmp_path / "extra_of_mine.py").write_text(text)
        # As another command finds it.
        sys.modules.pop("extra_of_mine", None)
        importlib.invalidate_caches()
        model = {"ppo": {"policy_kwargs": {"features_extractor_class": "extra_of_mine.Extra"}}}
        settings.append(compression_identity(world, CompressSettings(algorithm="ppo", model=model)).content)
    assert settings[0] != settings[1] and settings[0]["settings"] == settings[1]["settings"]
    model = {"ppo": {"policy_kwargs": {"activation_fn": "torch.nn.Nope"}}}
    with pytest.raises(UserError, match=r"--model.ppo.policy_kwargs.activation_fn expects a class"):
        compression_identity(world, CompressSettings(algorithm="ppo", model=model))


def test_a_class_of_this_package_keeps_its_digest_when_its_file_is_edited():
    kwargs = {"features_extractor_class": "lightning_pz.compression.residual_cnn.ResidualCNN"}
    settings = CompressSettings(algorithm="dqn", model={"dqn": {"policy_kwargs": kwargs}})
    world = World("PongNoFrameskip-v4", 27_000, (4, 84, 84), 6, True)
    assert compression_identity(world, settings).content["sources"] == {"features_extractor_class": "65e314598cfedc34"}
