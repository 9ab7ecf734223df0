"""Packages export their public names, and importing them alone imports no torch."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_pz

PACKAGES = ("lightning_pz", "lightning_pz.autoencoder", "lightning_pz.pool", "lightning_pz.probes")


def test_public_names_are_those_of_their_modules_and_others_are_refused():
    for name in PACKAGES:
        package = importlib.import_module(name)
        assert {one: getattr(package, one).__name__ for one in package.__all__} == {one: one for one in package.__all__}
        with pytest.raises(AttributeError, match=f"'{name}' has no attribute 'nothing'"):
            _ = package.nothing


def test_packages_alone_are_light_and_typed():
    script = f"import sys, {', '.join(PACKAGES)}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert (Path(lightning_pz.__file__).parent / "py.typed").is_file()
