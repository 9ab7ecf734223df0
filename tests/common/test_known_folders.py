"""Folders known by their content: found under any name, never shared, claimed by one process at a time."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from lightning_pz.common.identity import digest
from lightning_pz.common.known_folders import Identity, claim, find


def test_a_result_is_found_whatever_its_folder_is_called(tmp_path: Path) -> None:
    one = claim([tmp_path], "run", Identity({"seed": 1}))
    assert one == tmp_path / "run" and json.loads((one / "identity.json").read_text()) == {"seed": 1}
    assert claim([tmp_path], "run", Identity({"seed": 1})) == one
    assert find([tmp_path], "another name", Identity({"seed": 1})) == one
    moved = one.rename(tmp_path / "moved")
    assert find([tmp_path], "run", Identity({"seed": 1})) == moved


def test_two_results_never_share_a_folder(tmp_path: Path) -> None:
    one, two = (claim([tmp_path], "run", Identity({"seed": seed})) for seed in (1, 2))
    assert (one.name, two.name) == ("run", "run-002")
    assert Identity({"seed": 2}).difference(one) == "seed is 1, not 2"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("not a run")
    (tmp_path / "file").write_text("no folder")
    for name in ("mine", "file"):
        assert find([tmp_path], name, Identity({})) == tmp_path / f"{name}-002"


def test_what_an_earlier_version_left_is_found_by_its_digest_alone(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    (old / "run").mkdir(parents=True)
    (old / "run" / "identity").write_text(digest({"seed": 1})[:16] + "\n")
    more = {"seed": 1, "start": "abc"}
    earlier = (digest({"seed": 1})[:16],)
    assert find([new, old], "run", Identity(more, earlier)) == old / "run"
    assert claim([new, old], "run", Identity(more)) == new / "run"
    assert Identity(more, earlier).difference(old / "run") is None  # it does not say


def test_an_infinite_box_comes_back_as_it_was(tmp_path: Path) -> None:
    identity = Identity({"low": [-float("inf")]})
    assert identity.difference(claim([tmp_path], "run", identity)) is None


def _claim(folder: str, seed: int, go: object, found: object) -> None:
    go.wait()  # type: ignore[attr-defined]
    found.put((seed, claim([Path(folder)], "run", Identity({"seed": seed})).name))  # type: ignore[attr-defined]


@pytest.mark.parametrize("seeds", [(1, 1, 1, 1), (1, 2, 3, 4)])
def test_processes_that_begin_together_take_one_folder_for_each_result(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    context = multiprocessing.get_context("spawn")
    go, found = context.Barrier(len(seeds)), context.Queue()
    workers = [context.Process(target=_claim, args=(str(tmp_path), seed, go, found)) for seed in seeds]
    for worker in workers:
        worker.start()
    names = dict(found.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join()
    assert len(names) == len(set(names.values())) == len(set(seeds))
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == len(set(seeds))
