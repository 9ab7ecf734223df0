"""`UserError`, whose text is a sentence for the user, and the entry points that print it."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn


class UserError(Exception):
    """A mistake that the user can correct: what was expected, what came, and what to do. Exit code 2, no traceback."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known word closest to `word`, or an empty string."""
    known = list(known)
    lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), list(lower), n=1, cutoff=0.5)
    return f" Did you mean {lower[found[0]]!r}?" if found else ""


def run_main(main: Callable[[list[str]], object]) -> NoReturn:
    """Run an entry point on the command line's arguments and turn a `UserError` into exit code 2.

    Ctrl-C exits with 130, as shells expect.
    """
    # Read when torch is imported, after this. Threads that wait for each other by spinning waste whole cores as soon as
    # anything else runs on the machine: training steps then take two to ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
