"""Studies that are a file in `conf/sweep/`: one Optuna study, worked on by several processes, resumed at any time."""

from sweeps.optuna_study.plan import Confirm, StudyPlan, load_plan

__all__ = ["Confirm", "StudyPlan", "load_plan"]
