"""The environment variables of processes that tests start."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]


def child_environment(**more: str) -> dict[str, str]:
    """Return this process's own variables, with the checkout before what else PYTHONPATH holds, and one thread."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **more}
