"""Studies over many fits: `python -m sweeps STUDY --env NAME`."""
