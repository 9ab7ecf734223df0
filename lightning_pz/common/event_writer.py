"""TensorBoard's writer, which a Ctrl-C cannot leave waiting for itself."""

from __future__ import annotations

from typing import Any

from torch.utils.tensorboard import SummaryWriter

from lightning_pz.common.held_interrupts import held_interrupts


class EventWriter(SummaryWriter):
    """A `SummaryWriter` that an interruption finds between two writes.

    It hands events to a thread through a queue; a `KeyboardInterrupt` inside that queue loses its wake-up call, and closing
    the writer then waits for two minutes.
    """

    def add_scalar(self, *arguments: Any, **named: Any) -> None:
        """Add a number as `SummaryWriter` does."""
        with held_interrupts():
            super().add_scalar(*arguments, **named)

    def add_figure(self, *arguments: Any, **named: Any) -> None:
        """Add a figure as `SummaryWriter` does."""
        with held_interrupts():
            super().add_figure(*arguments, **named)

    def close(self) -> None:
        """Write what is left."""
        with held_interrupts():
            super().close()
