"""The version is known wherever the package is, and is the one that installers know."""

import importlib.metadata

from lightning_pz import __version__
from lightning_pz.common import version


def test_installers_know_the_version_and_nothing_else_needs_them(monkeypatch):
    assert importlib.metadata.version("lightning_pz") == __version__
    known = version.package_version()
    assert known.startswith(f"{__version__} (")

    def nowhere(name):  # a checkout on PYTHONPATH, which nobody installed
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", nowhere)
    assert version.package_version.__wrapped__() == known
