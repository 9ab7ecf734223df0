"""Identities: digests, first differences, the source of a user's code."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from lightning_pz.common.identity import digest, first_difference, is_users_own, source_digest


def test_a_digest_does_not_see_the_order_of_keys_or_the_kind_of_a_list() -> None:
    assert digest({"a": 1, "b": (1, 2)}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2}) and digest({"a": 1}) != digest({"a": "1"})


@pytest.mark.parametrize(
    ("found", "wanted", "text"),
    [
        ({"env": {"horizon": 5}}, {"env": {"horizon": 50}}, "env.horizon is 5, not 50"),
        ({"low": [-1.0, -1.0]}, {"low": [-1.0, -2.0]}, "low[1] is -1.0, not -2.0"),
        ({"low": [-1.0]}, {"low": [-1.0, -2.0]}, "low is [-1.0], not [-1.0, -2.0]"),
        ({"a": 1}, {"a": 1, "b": None}, "b is (absent), not null"),
        ({"a": 1, "b": 2}, {"a": 1}, "b is 2, not (absent)"),
        ({"a": (1, 2)}, {"a": [1, 2]}, None),
    ],
)
def test_the_first_difference_is_named(found: dict, wanted: dict, text: str | None) -> None:
    assert first_difference(found, wanted) == text


def test_some_keys_can_be_left_out_of_a_comparison() -> None:
    assert first_difference({"a": {"x": 1}}, {"a": {"x": 2}}, ignore=["a.x"]) is None
    assert first_difference({}, {"new": 1}, known_only=True) is None
    assert first_difference({"gone": 1}, {}, known_only=True) == "gone is 1, not (absent)"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_helper_module.py").write_text("FACTOR = 2.0\n")
    (tmp_path / "own_task_module.py").write_text(
        "import numpy as np\nfrom own_helper_module import FACTOR\nimport own_helper_module\n"
        "def task(t):\n    return FACTOR * t.rewards\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def _fresh(name: str) -> object:
    for module in ("own_task_module", "own_helper_module"):
        sys.modules.pop(module, None)
    importlib.invalidate_caches()
    return importlib.import_module(name)


def test_the_source_of_a_task_counts_with_what_it_imports(package: Path) -> None:
    first = source_digest(_fresh("own_task_module").task)  # type: ignore[attr-defined]
    assert first == source_digest(_fresh("own_task_module").task)  # type: ignore[attr-defined]
    (package / "own_helper_module.py").write_text("FACTOR = 3.0\n")
    second = source_digest(_fresh("own_task_module").task)  # type: ignore[attr-defined]
    task = package / "own_task_module.py"
    task.write_text(task.read_text().replace("FACTOR *", "-FACTOR *"))
    third = source_digest(_fresh("own_task_module").task)  # type: ignore[attr-defined]
    assert len({first, second, third}) == 3


@pytest.mark.parametrize(
    "line",
    [
        "from own_helper_module import FACTOR",
        "from own_helper_module import FACTOR as SCALE",
        "from own_helper_module import *",
        "import own_helper_module as helper; FACTOR = helper.FACTOR; del helper",
        "def later():\n    import own_helper_module",
        "def later():\n    from own_helper_module import FACTOR",
    ],
)
def test_a_number_of_another_module_counts_however_it_is_imported(line: str, package: Path) -> None:
    """A number does not say where it is from, and what a function imports is not there yet."""
    (package / "own_task_module.py").write_text(f"{line}\ndef task(t):\n    return t.rewards\n")
    first = source_digest(_fresh("own_task_module").task)  # type: ignore[attr-defined]
    (package / "own_helper_module.py").write_text("FACTOR = 3.0\n")
    assert source_digest(_fresh("own_task_module").task) != first  # type: ignore[attr-defined]


@pytest.mark.parametrize("edited", ["__init__", "rewards", "numbers"])
def test_a_package_of_the_users_counts_with_what_is_around(edited: str, package: Path) -> None:
    folder = package / "own_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("LIMIT = 1.0\n")
    (folder / "rewards.py").write_text(
        "from .numbers import SCALE\nfrom . import LIMIT\ndef task(t):\n    return SCALE\n"
    )
    (folder / "numbers.py").write_text("SCALE = 2.0\n")

    def digest_now() -> str:
        for module in [name for name in sys.modules if name.startswith("own_package")]:
            del sys.modules[module]
        importlib.invalidate_caches()
        return source_digest(importlib.import_module("own_package.rewards").task)

    first = digest_now()
    assert digest_now() == first
    with (folder / f"{edited}.py").open("a") as file:
        file.write("# edited\n")
    assert digest_now() != first


def test_what_is_loaded_counts_and_not_what_its_file_became(package: Path) -> None:
    """A file that is edited while a command runs is not what the command runs."""
    loaded = _fresh("own_task_module")
    first = source_digest(loaded.task)  # type: ignore[attr-defined]
    with (package / "own_task_module.py").open("a") as file:
        file.write("# edited\n")
    assert source_digest(loaded.task) == first  # type: ignore[attr-defined]
    again = importlib.reload(loaded)  # type: ignore[arg-type]
    assert source_digest(again.task) != first


def test_a_users_module_is_told_from_a_library(package: Path) -> None:
    assert is_users_own(_fresh("own_task_module"))  # type: ignore[arg-type]
    assert not any(is_users_own(sys.modules.get(name)) for name in ("json", "pytest", "lightning_pz", "sys", "absent"))


def _packed(folder: Path, name: str, metadata: str, files: str) -> None:
    """Write a module and what an installer, or a build in place, leaves beside it."""
    (folder / f"{name}.py").write_text("def task(t):\n    return t.rewards\n")
    (folder / metadata).mkdir(parents=True)
    (folder / metadata / ("RECORD" if metadata.endswith("dist-info") else "SOURCES.txt")).write_text(files)
    (folder / metadata / ("METADATA" if metadata.endswith("dist-info") else "PKG-INFO")).write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    )


@pytest.mark.parametrize(
    ("place", "metadata", "files", "own"),
    [
        # pip install --target, or a cluster's module on PYTHONPATH
        ("modules/gym", "packed_somewhere-1.0.dist-info", "packed_somewhere.py,sha256=x,10\n", False),
        # pip install --user, the packages of the system below those of an environment
        ("user/lib/python3/site-packages", "packed_somewhere-1.0.dist-info", "", False),
        ("lib/python3/dist-packages", "packed_somewhere.egg-info", "packed_somewhere.py\n", False),
        # a project of the user's own: beside the record of another package, and with a build in place
        ("project", "other-1.0.dist-info", "other.py,sha256=x,10\n", True),
        ("project", "packed_somewhere.egg-info", "packed_somewhere.py\n", True),
    ],
)
def test_a_library_is_known_wherever_it_is_installed(
    place: str, metadata: str, files: str, own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True)
    _packed(folder, "packed_somewhere", metadata, files)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert is_users_own(importlib.import_module("packed_somewhere")) is own
    del sys.modules["packed_somewhere"]
