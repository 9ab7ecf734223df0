"""Files written whole, locks, names."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import (
    alone,
    new_folder,
    remove_leftovers,
    replacing,
    safe_name,
    temporary_beside,
    write_json,
    write_text,
)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["a.txt"]


def test_writers_side_by_side_never_share_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    texts = [str(i) * 100_000 for i in range(8)]
    with ThreadPoolExecutor(8) as executor:
        list(executor.map(lambda text: write_text(path, text), texts * 5))
    assert path.read_text() in texts
    assert _names(tmp_path) == ["a.txt"]


def test_json_has_null_where_a_number_is_not_finite(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": math.nan, "b": [1.5, -math.inf, "x"], "c": (1, None)})
    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=lambda name: pytest.fail(name)) == {
        "a": None,
        "b": [1.5, None, "x"],
        "c": [1, None],
    }


def test_a_new_folder_comes_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "pools" / "a"
    with pytest.raises(RuntimeError), new_folder(target) as temporary:
        (temporary / "x").write_text("x")
        raise RuntimeError
    assert _names(target.parent) == []
    with new_folder(target) as temporary:
        (temporary / "x").write_text("x")
    assert _names(target) == ["x"]


def test_a_folder_that_appears_meanwhile_is_kept_and_said(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with pytest.raises(UserError, match="something else lies"), new_folder(target) as temporary:
        (temporary / "x").write_text("ours")
        target.mkdir()
        (target / "x").write_text("theirs")
    assert (target / "x").read_text() == "theirs"


def test_a_disk_too_small_is_said_with_both_numbers(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"needs 1000000000\.0 GB, but its disk has"),
        new_folder(tmp_path / "a", 10**18),
    ):
        pass


def test_leftovers_of_a_killed_process_go_and_those_of_a_living_one_stay(tmp_path: Path) -> None:
    target = tmp_path / "a[1]"
    code = (
        "import sys; from pathlib import Path; from lightning_pz.common.files import temporary_beside;"
        "temporary_beside(Path(sys.argv[1])).mkdir()"
    )
    subprocess.run([sys.executable, "-c", code, str(target)], check=True)
    temporary_beside(target).mkdir()
    other = temporary_beside(tmp_path / "a[1]b")
    other.mkdir()
    assert len(_names(tmp_path)) == 3
    remove_leftovers(target)
    left = _names(tmp_path)
    assert len(left) == 2 and all(f"-{os.getpid()}-" in name for name in left)


def test_one_process_at_a_time_holds_a_lock(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lightning_pz.common.files import alone\n"
        "with alone(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    target = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process is at work"), alone(target, wait=False):
            pass
        other.kill()
        other.wait()
        with alone(target, wait=False):
            assert not target.exists()


def test_threads_of_one_process_exclude_each_other_as_well(tmp_path: Path) -> None:
    inside: list[int] = []

    def work(number: int) -> bool:
        with alone(tmp_path / "run"):
            inside.append(number)
            own = len(inside) == 1
            inside.remove(number)
        return own

    with ThreadPoolExecutor(4) as executor:
        assert all(executor.map(work, range(40)))


@given(st.text(), st.text())
def test_names_are_told_apart_and_stay_in_their_folder(one: str, other: str) -> None:
    names = safe_name(one), safe_name(other)
    assert (names[0] == names[1]) == (one == other)
    for name in names:
        assert name and "/" not in name and not name.startswith(".") and len(name.encode()) < 160


def test_names_that_only_a_slug_confuses() -> None:
    texts = ["a:b", "a-b", "a b", "A-b", "a--b", "-a-b", "../a-b", "a/b", "", ".", "..", safe_name("a:b")]
    assert len({safe_name(text) for text in texts}) == len(texts)
    assert safe_name("halfcheetah") == "halfcheetah" and safe_name("a-b") == "a-b"
