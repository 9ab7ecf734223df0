"""What is not installed is named, with the line that installs it."""

import pytest

from lightning_pz.common.checks import check_extra
from lightning_pz.common.errors import UserError


def test_a_missing_package_is_named_with_the_line_that_installs_it():
    check_extra(("json", "re"), "onnx", "a test")
    with pytest.raises(UserError) as one:
        check_extra(("json", "no_such_a"), "onnx", "--output policy.onnx")
    assert str(one.value) == (
        "--output policy.onnx needs the package no_such_a, which is not installed: pip install 'lightning_pz[onnx]'"
    )
    with pytest.raises(
        UserError, match=r"^an Atari game needs the packages no_such_a and no_such_b, which are not inst"
    ):
        check_extra(("no_such_a", "no_such_b"), "atari,compression", "an Atari game")
