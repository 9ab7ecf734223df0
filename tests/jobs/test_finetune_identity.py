"""A run is known by the content of all that decides it, not by paths and names; old runs that are the same are found."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import json
import sys
from pathlib import Path

import gymnasium
import pytest
import torch
import yaml

from lightning_pz import finetune
from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import file_digest, safe_name
from lightning_pz.common.identity import digest
from lightning_pz.envs.episode_identity import is_as_it_was, versions
from lightning_pz.jobs import finetune_run as single_run
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.settings import SearchSettings
from tests.said import reused

TINY = [
    "--budget", "900", "--starts", "2", "--pgpe.population", "4", "--evaluation_episodes", "2", "--test_episodes", "2",
]  # fmt: skip


@pytest.fixture
def run(checkpoint, tmp_path, capsys):
    """Run the command; return the folder and whether it was there already."""

    def go(*arguments, logs="logs"):
        finetune.main(["--checkpoint", checkpoint, *TINY, "--logs", str(tmp_path / logs), *arguments])
        output = capsys.readouterr().out
        folder = Path(output.strip().splitlines()[-1])
        return folder, reused(output) != "-"

    return go


def policy_at(model, value):
    with torch.no_grad():
        return SavedPolicy.of(model.policy, model.decoder(torch.full((1, 2), value))[0])


def test_a_start_file_is_known_by_its_content(run, checkpoint, tmp_path):
    model = load_autoencoder(checkpoint)
    start = tmp_path / "one" / "policy.npz"
    start.parent.mkdir()
    policy_at(model, 0.3).save(start)
    first, found = run("--start", str(start))
    assert not found
    elsewhere = tmp_path / "other" / "same.npz"
    elsewhere.parent.mkdir()
    policy_at(model, 0.3).save(elsewhere)
    assert run("--start", str(elsewhere)) == (first, True)
    policy_at(model, -0.8).save(start)
    second, found = run("--start", str(start))
    assert not found and second != first
    # The same stem, another content: the names differ in more than a number, so that a report tells them apart.
    assert not second.name.startswith(first.name.removesuffix("-seed0"))
    assert (first / "curve.csv").read_bytes() != (second / "curve.csv").read_bytes()


@pytest.fixture
def own_task(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text, name="own_task_to_edit"):
        (tmp_path / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()

    yield write
    sys.modules.pop("own_task_to_edit", None)


def test_a_task_of_ones_own_is_known_by_its_source(run, own_task):
    own_task("def fine(t):\n    return t.after.positions[:, 0]\n")
    first, found = run("--task", "own_task_to_edit:fine")
    assert not found and run("--task", "own_task_to_edit:fine") == (first, True)
    own_task("def fine(t):\n    return -t.after.positions[:, 0]\n")
    second, found = run("--task", "own_task_to_edit:fine")
    assert not found and second == first.with_name(first.name + "-002")
    values = [
        json.loads((path / "summary.json").read_text())["own_task_to_edit:fine/return"] for path in (first, second)
    ]
    assert values[0] * values[1] < 0


def test_tasks_that_a_slug_gives_one_name_do_not_share_a_folder(run, own_task):
    own_task("def f(t):\n    return t.rewards\ndef F(t):\n    return -t.rewards\n")
    one, two = (run("--task", f"own_task_to_edit:{name}")[0] for name in "fF")
    assert one.parent != two.parent and one.parent.parent == two.parent.parent


def test_a_run_of_an_earlier_version_is_found_again_where_it_is_surely_the_same(run, checkpoint, tmp_path):
    folder, _ = run()
    # Version 0.1 at first kept a digest of the settings and the checkpoint.
    settings = finetune.parse(["--checkpoint", "x", *TINY])[1]
    content = json.loads((folder / "identity.json").read_text())
    (folder / "identity.json").unlink()
    (folder / "identity").write_text(digest(settings.identity() | {"checkpoint": content["checkpoint"]})[:16] + "\n")
    assert run() == (folder, True)


def test_no_earlier_digest_stands_for_what_it_left_out(checkpoint, tmp_path, own_task):
    model = load_autoencoder(checkpoint)
    policy_at(model, 0.1).save(tmp_path / "policy.npz")
    own_task("def f(t):\n    return t.rewards\n")

    def earlier(**changes):
        settings = dataclasses.replace(SearchSettings(), **changes)
        return single_run.identity_of(single_run.SearchJob("x.ckpt", "abc", settings, "logs", 1), model).earlier

    assert len(earlier()) == len(earlier(task="left")) == len(earlier(behavior_step=0.1)) == 1
    assert not earlier(start=str(tmp_path / "policy.npz")) and not earlier(task="own_task_to_edit:f")
    # Sigma was carried from latents into weights.
    assert not earlier(behavior_step=0.1, release_decoder_at=5) and not earlier(behavior_step=0.1, widen=0.5)
    # Constructor arguments and source, which were not kept.
    old = {key: value for key, value in model.env.items() if key not in ("kwargs", "source")}
    assert is_as_it_was(old, model.env) and not is_as_it_was(old, model.env | {"kwargs": "{}"})
    assert not is_as_it_was(old, model.env | {"source": "abc"})


def test_an_environment_that_has_changed_is_refused_or_another_run(checkpoint, monkeypatch):
    model = load_autoencoder(checkpoint)
    job = single_run.SearchJob("x.ckpt", "abc", SearchSettings(), "logs", 1)
    before = single_run.identity_of(job, model)
    registered = gymnasium.registry["MountainCarContinuous-v0"]
    kind = gymnasium.envs.registration.load_env_creator(registered.entry_point)

    class Edited(kind):
        def __init__(self, render_mode=None, high=1.0):
            super().__init__(render_mode)
            self.action_space = gymnasium.spaces.Box(-1, high, (1,))

    def register(**kwargs):
        spec = dataclasses.replace(registered, entry_point=functools.partial(Edited, **kwargs))
        monkeypatch.setitem(gymnasium.registry, registered.id, spec)

    register(high=1.0)
    after = single_run.identity_of(job, model)
    assert after.digest != before.digest and before.earlier and not after.earlier
    register(high=0.5)
    with pytest.raises(
        UserError, match=r"x\.ckpt was made for Mountain.*action_high\[0\] is 1\.0, not 0\.5.*fit again"
    ):
        single_run.identity_of(job, model)


def test_versions_of_what_simulates_count(checkpoint, monkeypatch):
    model = load_autoencoder(checkpoint)
    job = single_run.SearchJob("x.ckpt", "abc", SearchSettings(), "logs", 1)
    before = single_run.identity_of(job, model)
    monkeypatch.setattr("importlib.metadata.version", lambda package: "99")
    assert single_run.identity_of(job, model).digest != before.digest


def test_what_simulates_is_more_than_mujoco():
    """The lander flies in Box2D, and an id of another package in that package's code."""
    plain = versions("MountainCarContinuous-v0")
    assert set(plain) == {"gymnasium", "mujoco"} == set(versions("nowhere:Unknown-v0"))
    assert versions("LunarLander-v3") == plain | {"Box2D": importlib.metadata.version("Box2D")}
    gymnasium.register("own_of_a_package/Pole-v0", "optuna.made_up:Pole")
    assert versions("own_of_a_package/Pole-v0") == plain | {"optuna": importlib.metadata.version("optuna")}
    del gymnasium.registry["own_of_a_package/Pole-v0"]


def test_a_folder_of_starts_names_its_files_as_evaluate_does(checkpoint, tmp_path, own_task):
    own_task("def f(t):\n    return t.rewards\n")
    model = load_autoencoder(checkpoint)
    task = "own_task_to_edit:f"
    policy_at(model, 0.1).save(tmp_path / f"{safe_name(task)}.npz")
    single_run.build_search(model, SearchSettings(start=f"{tmp_path}/", task=task), 1)
    with pytest.raises(UserError, match=r"there is none at .*left\.npz"):
        single_run.build_search(model, SearchSettings(start=f"{tmp_path}/", task="left"), 1)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--seed", "-1"], "--seed expects a seed from 0 to 4294967295, but got -1"),
        (["--seed", str(2**32)], "--seed expects a seed from 0 to 4294967295"),
        (["--seed", str(2**32 - 2), "--seeds", "3"], r"--seed expects a seed from 0 to 4294967293 \(3 of them"),
        (["--config", "latin.yaml"], r"UTF-8, but latin\.yaml is in another encoding"),
    ],
)
def test_bad_input(arguments, sentence, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("latin.yaml").write_bytes(yaml.safe_dump({"task": "café"}, allow_unicode=True).encode("latin-1"))
    with pytest.raises(UserError, match=sentence):
        finetune.main(["--checkpoint", checkpoint, *arguments])
    assert [path.name for path in tmp_path.iterdir()] == ["latin.yaml"]


def test_logs_that_cannot_be_written_are_refused_before_the_search(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "logs").write_text("a file where a folder is wanted")
    monkeypatch.setattr(single_run, "search_until_done", lambda *_: pytest.fail("searched"))
    with pytest.raises(UserError, match="something else lies at"):
        finetune.main(["--checkpoint", checkpoint, *TINY, "--logs", str(tmp_path / "logs")])


def test_a_search_that_came_to_nothing_leaves_no_folder(checkpoint, tmp_path, own_task):
    own_task("import numpy as np\ndef f(t):\n    return np.full(len(t.rewards), np.nan)\n")
    more = ["--budget", "100000", "--logs", str(tmp_path / "logs"), "--task", "own_task_to_edit:f"]
    with pytest.raises(UserError, match="no episode stayed finite"):
        finetune.main(["--checkpoint", checkpoint, *TINY, *more])
    assert not list((tmp_path / "logs").rglob("config.yaml"))


def test_a_search_that_was_refused_is_refused_again(checkpoint, tmp_path, own_task):
    """However often its state is saved: it must not become a finished run by being asked for twice."""
    own_task("import numpy as np\ndef f(t):\n    return np.full(len(t.rewards), np.nan)\n")
    more = ["--budget", "100000", "--logs", str(tmp_path / "logs"), "--task", "own_task_to_edit:f"]
    for _ in range(2):
        with pytest.raises(UserError, match="no episode stayed finite"):
            finetune.main(["--checkpoint", checkpoint, *TINY, *more, "--checkpoint_seconds", "0"])
    assert not list((tmp_path / "logs").rglob("summary.json"))


def search_of_seeds(monkeypatch, between, *arguments):
    """Run a command of two seeds; `between` is called once the first of them is searched."""
    search, done = single_run.search_until_done, []

    def searched(*given):
        result = search(*given)
        if not done:
            between()
        done.append(result)
        return result

    monkeypatch.setattr(single_run, "search_until_done", searched)
    finetune.main([*arguments, "--seeds", "2", "--workers", "1"])


def test_a_task_that_is_edited_while_it_runs_is_the_one_that_was_loaded(checkpoint, tmp_path, own_task, monkeypatch):
    own_task("def f(t):\n    return t.actions[:, 0]\n")
    words = ["--checkpoint", checkpoint, *TINY, "--task", "own_task_to_edit:f", "--logs"]
    finetune.main([*words, str(tmp_path / "still"), "--seeds", "2", "--workers", "1"])
    path = Path(sys.modules["own_task_to_edit"].__file__)
    edit = functools.partial(path.write_text, "def f(t):\n    return 100 * t.actions[:, 0]\n")
    search_of_seeds(monkeypatch, edit, *words, str(tmp_path / "edited"))
    summaries = [
        {file.parent.name: json.loads(file.read_text()) for file in (tmp_path / logs).rglob("summary.json")}
        for logs in ("still", "edited")
    ]
    sources = [
        {json.loads(file.read_text())["task_source"] for file in (tmp_path / logs).rglob("identity.json")}
        for logs in ("still", "edited")
    ]
    key = "own_task_to_edit:f/return"
    assert len(summaries[0]) == 2 and len(sources[0]) == 1 and sources[0] == sources[1]
    assert {name: one[key] for name, one in summaries[0].items()} == {
        name: one[key] for name, one in summaries[1].items()
    }


def test_a_worker_that_loads_another_task_refuses_it(checkpoint, tmp_path, own_task):
    own_task("def f(t):\n    return t.actions[:, 0]\n")
    settings = SearchSettings(task="own_task_to_edit:f", budget=900)
    job = single_run.SearchJob(checkpoint, file_digest(Path(checkpoint)), settings, str(tmp_path / "logs"), 1)
    job = dataclasses.replace(job, known=single_run.identity_of(job, load_autoencoder(checkpoint)))
    own_task("def f(t):\n    return 100 * t.actions[:, 0]\n")  # loaded anew, as in another process
    with pytest.raises(UserError, match=r"was edited since the command began \(task_source is"):
        single_run.run_search(job)


def test_a_checkpoint_that_is_replaced_meanwhile_is_refused(checkpoint, tmp_path, monkeypatch):
    own = tmp_path / "run" / "checkpoints" / "best.ckpt"
    own.parent.mkdir(parents=True)
    own.write_bytes(Path(checkpoint).read_bytes())
    content = torch.load(own, weights_only=False)

    def train_on():
        content["global_step"] += 1
        torch.save(content, own)

    with pytest.raises(UserError, match="was replaced since the command began"):
        search_of_seeds(monkeypatch, train_on, "--checkpoint", str(own), *TINY, "--logs", str(tmp_path / "logs"))
    assert len(list((tmp_path / "logs").rglob("summary.json"))) == 1
