"""What off-policy searches go by beside their settings; all of it is part of a run's identity. Imports no torch."""

from __future__ import annotations

from typing import Any

VERSION = 2
"""Rises with every change of the code that changes a result: 2 is critics that learn alone, and a candidate that is new."""
TOLERANCE = 0.1
"""Share of its return that a candidate may lose and still holds what the incumbent earns."""
FIRST_TIE, LOOSENS, TIGHTENS = 0.3, 1.2, 1.5
"""Of an actor whose episodes can end: its tie at first, and what it is divided or multiplied by after a candidate that is dropped."""
STEPS_ALONE = 5
"""Steps of a return of old data alone whose episodes can end: what was earned counts for more than what a critic hopes for."""
QUANTILES = 25
"""Of each critic of TQC, its default."""


def off_policy_rules() -> dict[str, Any]:
    """Return all of the above by name."""
    return {
        "version": VERSION, "tolerance": TOLERANCE, "first_tie": FIRST_TIE, "loosens": LOOSENS, "tightens": TIGHTENS,
        "steps_alone": STEPS_ALONE, "quantiles": QUANTILES,
    }  # fmt: skip
