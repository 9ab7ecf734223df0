"""The evaluate command with tiny settings."""

from lightning_pz.evaluate import main
from lightning_pz.jobs import evaluate as command

SMALL = ["--policies", "12", "--episodes", "2", "--draws", "20", "--best", "3", "--fresh_episodes", "3"]


def evaluate(checkpoint, logs, *arguments):
    """Run the command on one checkpoint or more; return what it found."""
    results = []
    original = command.print_evaluations
    command.print_evaluations = lambda done, *more: (results.extend(done), original(done, *more))
    try:
        main(["--checkpoint", str(checkpoint), *SMALL, "--logs", str(logs), *arguments])
    finally:
        command.print_evaluations = original
    return results
