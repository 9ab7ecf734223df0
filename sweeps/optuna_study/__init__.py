"""Studies that are a file in `conf/sweep/`: one Optuna study, worked on by several processes, resumed at any time."""
