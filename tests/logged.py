"""Reads what the services were given, by their own tools and formats."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
from wandb.proto import wandb_internal_pb2

from lightning_pz.common.tracking.settings import PROJECT

_BLOCK = 1 << 15


def mlflow_runs(logs: Path, name: str = "mlflow.db") -> list[Any]:
    """Return the runs in the store of a folder of logs."""
    client = mlflow.MlflowClient(f"sqlite:///{logs / name}")
    return list(client.search_runs([client.get_experiment_by_name(PROJECT).experiment_id]))


def wandb_rows(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of the history in an offline run's file."""
    for record in _records(file):
        if record.WhichOneof("record_type") == "history":
            yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}


def wandb_settings(file: Path) -> dict[str, Any]:
    """Return the settings of an offline run, without those of Weights & Biases itself."""
    found: dict[str, Any] = {}
    for record in _records(file):
        if record.WhichOneof("record_type") == "config":
            found |= {item.key: json.loads(item.value_json) for item in record.config.update}
    return {key: value for key, value in found.items() if not key.startswith("_")}


def _records(file: Path) -> Iterator[Any]:
    """Yield the messages of an offline run's file: a header of 7 bytes, then LevelDB's log format, in blocks of 32 KiB."""
    content, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < 7:
            place += left
            continue
        _, size, kind = struct.unpack_from(
            "<IHB", content, place
        )  # checksum; 1: whole, 2 to 4: first, middle, last part
        whole += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record
