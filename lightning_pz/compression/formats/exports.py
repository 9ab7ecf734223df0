"""Files of other formats, made from a run's `policy.lpz`, and what compiled C takes of a chip's memory."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning_pz.common.checks import is_installed
from lightning_pz.compression.formats.c_header import write_header
from lightning_pz.compression.formats.network_file import read_stored
from lightning_pz.policy.onnx_file import write_onnx

ONNX_FILES = {"onnx": "policy.onnx", "onnx_int8": "policy_int8.onnx", "onnx_int4": "policy_int4.onnx"}
HEADER = "policy.h"
_COMPILE = ("-std=c99", "-Os", "-fno-asynchronous-unwind-tables", "-c")


def written_exports(summary: Mapping[str, Any], folder: Path) -> set[str]:
    """Return the formats among `onnx` and `c` that a finished run has, with their sizes in its summary."""
    levels = "onnx_" + summary["format"].removeprefix("sparse_")
    networks = [key for key in ("onnx", levels) if key in ONNX_FILES]
    has = {
        "onnx": all(f"bytes_{key}" in summary and (folder / ONNX_FILES[key]).is_file() for key in networks),
        "c": (folder / HEADER).is_file() and ("c_flash_bytes" in summary or not _compiles()),
    }
    return {name for name, is_there in has.items() if is_there}


def write_exports(folder: Path, formats: Iterable[str], shape: tuple[int, ...], *, choices: bool) -> dict[str, Any]:
    """Write formats, from a run's `policy.lpz`, and return their sizes in bytes for its summary.

    ONNX is `policy.onnx`, of floats, and of weights on levels also `policy_int8.onnx` or `policy_int4.onnx`. Weights that
    training left as floats are not rounded here: the network of levels would be one that nobody measured.

    Without the package `onnx` there is a note in place of ONNX files; without a C compiler no size of the header. The
    shape is that of an observation; with `choices` outputs are scores. Raises `UserError` as `write_header`.
    """
    asked, values = {*formats}, dict[str, Any]()
    if "onnx" in asked and not is_installed("onnx"):
        print("note: no ONNX files were written, for they need the package onnx: pip install 'lightning_pz[onnx]'")
    elif "onnx" in asked:
        stored = read_stored(folder / "policy.lpz")
        networks = {"onnx": None} if stored.bits is None else {"onnx": None, f"onnx_int{stored.bits}": stored.levels()}
        for name, levels in networks.items():
            file = folder / ONNX_FILES[name]
            values[f"bytes_{name}"] = write_onnx(
                stored.plan, stored.tensors(), shape, file, levels, bits=stored.bits or 8
            )
    if "c" in asked:
        write_header(folder / "policy.lpz", folder / HEADER, choices=choices)
        values |= compiled_size(folder / HEADER)
    return values


def _compiles() -> bool:
    return shutil.which("cc") is not None and shutil.which("size") is not None


def compiled_size(header: Path) -> dict[str, int]:
    """Return `c_flash_bytes` and `c_ram_bytes` of a header's compiled `policy_act`; nothing without `cc` and `size`.

    Flash is code, constants and initialized data, RAM is data; the stack, some dozen bytes, is not counted.
    """
    if not _compiles():
        return {}
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "policy.c"
        call = "void act(const float *observation, float *action);\n"
        call += "void act(const float *observation, float *action) { policy_act(observation, action); }\n"
        source.write_text(f'#include "{header.resolve()}"\n{call}')
        try:
            subprocess.run(["cc", *_COMPILE, "policy.c"], cwd=place, check=True, capture_output=True)
            found = subprocess.run(["size", "policy.o"], cwd=place, check=True, capture_output=True, text=True).stdout
            text, data, zeros = map(int, found.splitlines()[1].split()[:3])
        # Another compiler's own ways are no reason to stop: the header is there.
        except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
            return {}
    return {"c_flash_bytes": text + data, "c_ram_bytes": data + zeros}
