"""Writes and reads files of compressed policies (`.lpz`).

A file is 4 letters, its version, the length of its header, the header (JSON, deflated), and the tensors one after another.
The header holds the plan of the network (`lightning_pz.policy.network_plan`), a checksum, and for every tensor its shape,
type, codec and scales. The size of this file is the size that this package reports. Reading it runs no code from it.

Files with levels of 4 bits are of version 2, all others of version 1, which older readers open too.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_pz.common.errors import UserError, nearest
from lightning_pz.common.files import write_bytes
from lightning_pz.compression.formats import narrow
from lightning_pz.compression.formats.codecs import SPARSE, decode, encode
from lightning_pz.compression.methods.quantize import from_levels, to_levels
from lightning_pz.compression.methods.stack import check_finite
from lightning_pz.compression.modules import from_plan, to_plan
from lightning_pz.policy.network_plan import NetworkPlan, Tensors, weight_names

_MAGIC, _VERSION = b"LPZC", 2
_BITS = {"i1": 8, "int4": 4}
"""Bits of a level, by type."""
FORMATS = {
    "float32": ("<f4", False),
    "float16": ("<f2", False),
    "int8": ("i1", False),
    "int4": ("int4", False),
    "sparse": ("<f4", True),
    "sparse_float16": ("<f2", True),
    "sparse_int8": ("i1", True),
    "sparse_int4": ("int4", True),
}
"""By name, the type of the weights (NumPy's, or `int4`), and whether each takes the smallest of the codecs or all its numbers.

Levels come with one scale per matrix or channel, float32 of 8 bits and bfloat16 of 4. Biases and statistics are dense, float16 where
weights are, else float32; so are tensors that leave the range of float16. A factorized network has low-rank factors in all
formats but `float32` and `float16`.
"""


def rounded_formats(own: str) -> list[str]:
    """Return the formats whose weights are rounded when a run has ended, by the format of its `policy.lpz`.

    What a policy in them does nobody measured; what it does in `own`, and in all others, is what was measured.
    """
    return [name for name in FORMATS if name not in ("float32", "sparse", own, own.removeprefix("sparse_"))]


def write_network(
    network: nn.Sequential, path: Path, name: str, meta: dict[str, Any] | None = None, *, per_channel: bool = False
) -> int:
    """Write a network in one of `FORMATS`, with plain data to keep, and return the size of the file in bytes.

    With `per_channel` every output channel of a weight of levels has a scale, else only those of convolutions.

    Raises `UserError` for an unknown format, or weights that are not finite.
    """
    if name not in FORMATS:
        raise UserError(f"expected one of the formats {', '.join(FORMATS)}, but got {name!r}." + nearest(name, FORMATS))
    check_finite(network)
    plan, tensors = to_plan(network)
    weights = weight_names(plan)
    parts = [
        (key, *_write_tensor(tensor, *FORMATS[name], key in weights, per_channel)) for key, tensor in tensors.items()
    ]
    heads, body = [[key, *head] for key, head, _ in parts], b"".join(content for *_, content in parts)
    header = {"plan": plan, "tensors": heads, "format": name, "meta": meta or {}, "crc": zlib.crc32(body)}
    packed = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), 9)
    version = 2 if FORMATS[name][0] == "int4" else 1
    write_bytes(path, _MAGIC + struct.pack("<BI", version, len(packed)) + packed + body)
    return path.stat().st_size


def write_formats(
    dense: nn.Sequential,
    final: nn.Sequential,
    own: str,
    folder: Path,
    meta: dict[str, Any],
    per_channel: Callable[[int], bool] = lambda bits: False,
) -> dict[str, int]:
    """Write `formats/<name>.lpz` in every format, and `policy.lpz`; return the sizes in bytes, by format.

    Formats `float32` and `float16` hold the network without compression, all others the one to deploy, its low-rank
    layers split. `own` is the smallest that loses nothing of it, that of `policy.lpz`. `per_channel` says of levels of 8 and of
    4 bits whether each output channel has a scale.
    """
    (folder / "formats").mkdir(parents=True, exist_ok=True)
    networks = {name: dense if name in ("float32", "float16") else final for name in FORMATS}
    places = {"policy.lpz": own} | {f"formats/{name}.lpz": name for name in FORMATS}
    sizes = {}
    for place, name in places.items():
        scales = per_channel(_BITS.get(FORMATS[name][0], 8))
        sizes[name] = write_network(networks[name], folder / place, name, meta, per_channel=scales)
    return sizes


@dataclass(frozen=True)
class StoredNetwork:
    """A file as it lies on disk: the plan, and by name the numbers (levels, int8, or float32) and the scales of levels."""

    plan: NetworkPlan
    numbers: Tensors
    scales: dict[str, Tensor | None]  # (1,) or one per output channel
    meta: dict[str, Any]
    bits: int | None = None  # of the weights' levels, 8 or 4; None for floats

    def tensors(self) -> Tensors:
        """Return the values that the numbers stand for, float32."""
        pairs = ((name, numbers, self.scales[name]) for name, numbers in self.numbers.items())
        return {name: n.float() if scale is None else from_levels(n, scale) for name, n, scale in pairs}

    def levels(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return levels and scales of the weights, by name; nothing of weights that are stored as floats."""
        stored = ((name, self.numbers[name], self.scales[name]) for name in weight_names(self.plan))
        return {name: (n, scale) for name, n, scale in stored if scale is not None}


def read_network(path: str | Path) -> tuple[nn.Sequential, dict[str, Any]]:
    """Return the network, in evaluation mode, and the plain data kept with it, with its `format`.

    Raises:
        UserError: No file, another kind of file, a newer version, or a damaged one.
    """
    return _opened(path)[1:]


def read_stored(path: str | Path) -> StoredNetwork:
    """Return a file's content as it is stored; raise as `read_network`."""
    return _opened(path)[0]


def _opened(path: str | Path) -> tuple[StoredNetwork, nn.Sequential, dict[str, Any]]:
    if not Path(path).is_file():
        raise UserError(f"expected a compressed policy, but there is no file at {path}")
    content = Path(path).read_bytes()
    if content[:4] != _MAGIC:
        raise UserError(f"{path} is no compressed policy: give a .lpz that python -m lightning_pz.compress wrote")
    try:
        version, length = struct.unpack_from("<BI", content, 4)
        if version > _VERSION:
            raise UserError(f"{path} has format {version}, and this version reads {_VERSION}: update lightning_pz")
        header = json.loads(zlib.decompress(content[9 : 9 + length]))
        body = content[9 + length :]
        if zlib.crc32(body) != header["crc"]:
            raise ValueError("the checksum is wrong")
        numbers: Tensors = {}
        scales: dict[str, Tensor | None] = {}
        for name, shape, dtype, codec, count, size in header["tensors"]:
            numbers[name], scales[name] = _read_tensor(body[:size], tuple(shape), dtype, codec, count)
            body = body[size:]
        meta = header["meta"] | {"format": header["format"]}
        bits = next((_BITS[dtype] for _, _, dtype, *_ in header["tensors"] if dtype in _BITS), None)
        stored = StoredNetwork(header["plan"], numbers, scales, meta, bits)
        network = from_plan(stored.plan, stored.tensors())
    except (ValueError, KeyError, TypeError, struct.error, zlib.error, RuntimeError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}): make it again") from error
    return stored, network, meta


def _write_tensor(
    tensor: Tensor, dtype: str, sparse: bool, is_weight: bool, per_channel: bool
) -> tuple[list[Any], bytes]:
    """Return (shape, type, codec, number of scales, bytes) and the bytes."""
    shape = list(tensor.shape)
    # Half of a precision has too short a range for some observations: a deviation of 1e-9 would become 0.
    halved = tensor.half()
    short = torch.isfinite(halved).all() and (is_weight or torch.equal(halved == 0, tensor == 0))
    kind = "<f4" if (dtype == "<f2" and not short) or (dtype in _BITS and not is_weight) else dtype
    if not is_weight:
        content = tensor.numpy().astype(kind).tobytes()
        return [shape, kind, "dense", 0, len(content)], content
    packed, scale = dtype == "int4", torch.zeros(0)
    if dtype in _BITS:
        levels, scale = to_levels(tensor, _BITS[dtype], per_channel=per_channel)
        matrix = levels.flatten(1).numpy()
    else:
        matrix = tensor.flatten(1).numpy().astype(kind)
    before = (narrow.upper_halves(scale.numpy()) if packed else scale.numpy().astype("<f4")).tobytes()
    codecs = ("dense", *SPARSE) if sparse else ("dense",)
    ways = {codec: before + encode(matrix, codec, packed=packed) for codec in codecs}
    codec, content = min(ways.items(), key=lambda way: len(way[1]))
    return [shape, kind, codec, len(scale), len(content)], content


def _read_tensor(
    content: bytes, shape: tuple[int, ...], dtype: str, codec: str, scales: int
) -> tuple[Tensor, Tensor | None]:
    rows = shape[0] if shape else 1
    matrix_shape = (rows, int(np.prod(shape)) // rows)
    packed = dtype == "int4"
    number, size = np.dtype("i1" if packed else dtype), 2 if packed else 4
    matrix = torch.from_numpy(decode(content[size * scales :], codec, matrix_shape, number, packed=packed)).view(shape)
    if not scales:
        return matrix.float(), None
    found = np.frombuffer(content, "<u2" if packed else "<f4", scales)
    return matrix, torch.from_numpy(narrow.from_upper_halves(found) if packed else found.copy())
