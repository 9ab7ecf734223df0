"""What one test imports from its folder, the next does not find."""

import importlib
import json

from tests.conftest import forget_modules_under


def test_a_module_of_the_same_name_is_read_again(tmp_path, monkeypatch):
    found = []
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "of_the_same_name.py").write_text(f"WHERE = {folder!r}\n")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / folder)
            found.append(importlib.import_module("of_the_same_name").WHERE)
        forget_modules_under(tmp_path / folder)
    assert found == ["first", "second"]
    assert importlib.import_module("json") is json
