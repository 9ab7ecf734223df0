"""What the closing table of `finetune` says."""


def reused(output: str) -> str:
    """Return how many runs of the first task were there already, or `-`."""
    lines = output.splitlines()
    rule = next(place for place, line in enumerate(lines) if line.strip().startswith("---"))
    assert lines[rule - 1].split()[-1] == "reused"
    return lines[rule + 1].split()[-1]
