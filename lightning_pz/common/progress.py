"""The bar of long work: a bar in a terminal, and elsewhere, as in the log of a cluster's job, a line a minute."""

from __future__ import annotations

from time import monotonic
from typing import Any

from tqdm import tqdm

from lightning_pz.common.console import is_terminal

_SECONDS = 60.0
"""Between two lines, and before the first, so that short work says nothing."""


class ProgressBar(tqdm):
    """A bar of tqdm, for so much of a `unit` in the singular; `progress` false hides it, true draws it even in a file."""

    def __init__(self, *args: Any, unit: str, progress: bool | None = None, **kwargs: Any) -> None:
        self._in_lines = progress is None and not is_terminal()
        if self._in_lines:
            many = f"{unit.removesuffix('y')}ies" if unit.endswith("y") else f"{unit}s"
            kwargs["bar_format"] = f"{{desc}}: {{n_fmt}} of {{total_fmt}} {many} after {{elapsed}}, {{remaining}} to go"
            self._told = monotonic()
        super().__init__(*args, unit=unit, disable=progress is False, **kwargs)  # type: ignore[call-overload]

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar, or write a line."""
        if not self._in_lines:
            super().display(msg, pos)
            return
        if monotonic() >= self._told + _SECONDS:
            self._told = monotonic()
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def close(self) -> None:
        """End the bar, which a line does not need."""
        if getattr(self, "_in_lines", False):
            self.delay = float("inf")  # nothing was displayed that would have to go
        super().close()
