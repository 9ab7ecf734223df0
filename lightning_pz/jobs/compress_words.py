"""What the compress command prints at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_pz.common.console import show_end
from lightning_pz.common.statistics import read_estimate
from lightning_pz.common.tables import Table
from lightning_pz.common.tracking.settings import Loggers, look_command
from lightning_pz.compression.formats.network_file import rounded_formats


def show_compressions(summaries: list[dict[str, Any]], folder: Path, loggers: Loggers) -> None:
    """Print a row per run, and last the folder that holds them."""

    def cells(summary: dict[str, Any]) -> list[str]:
        found = read_estimate(summary, "return")
        return [
            str(summary["seed"]), "none" if found is None else f"{found.value:,.1f}{found.ends(',.1f')}",
            f"{summary['sparsity']:.2%}", f"{summary['bytes_file']:,}", f"{summary['cpu_seconds']:.0f}",
        ]  # fmt: skip

    rows = Table(["seed", "return", "sparsity", "bytes", "CPU seconds"], [cells(summary) for summary in summaries])
    values = {"environment": summaries[0]["env"], "method": summaries[0]["method"], "runs": str(len(summaries))}
    show_end(values, look_command(loggers, folder), folder, tables=[rows])


def show_compression(summary: dict[str, Any], folder: Path, loggers: Loggers) -> None:
    """Print the closing table of a run, and last its folder."""

    def span(key: str, form: str) -> str:
        found = read_estimate(summary, key)
        return "none" if found is None else f"{found.value:{form}}{found.ends(form)}"

    # Dense and sparse alike, so that the table fits a terminal.
    levels = [name for name in rounded_formats(summary["format"]) if not name.startswith("sparse_")]
    rows = {
        "environment": summary["env"],
        "method": summary["method"],
        "sparsity": f"{summary['sparsity']:.2%} of {summary['weights']:,} weights",
        "return": span("return", ",.1f"),
        "return of the dense policy": span("return_dense", ",.1f"),
        "share kept": span("return_kept", ".1%"),
        "behavior FVU": "none" if summary["behavior_fvu"] is None else f"{summary['behavior_fvu']:.4f}",
        "file": f"{summary['bytes_file']:,} bytes ({summary['format']})",
        "rounded afterwards": f"{', '.join(levels)}: not measured",
        "float32 file over it": f"{summary['file_ratio']:.1f}",
        "the paper's ratio": f"{summary['paper_ratio']:.1f} (surviving weights only)",
        "latency": f"{summary['latency_us_torch']:.0f} us (dense {summary['latency_us_torch_dense']:.0f} us)",
        "CPU seconds": f"{summary['cpu_seconds']:.0f}",
    }
    if "c_flash_bytes" in summary:
        rows["compiled C"] = f"{summary['c_flash_bytes']:,} bytes of flash, {summary['c_ram_bytes']:,} of RAM"
    if summary["gates_closed"] is not None:
        rows["gates closed"] = f"{summary['gates_closed']:.1%}"
    show_end(rows, look_command(loggers, folder.parent), folder)
