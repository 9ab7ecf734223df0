"""Where pieces of work run: in processes of this machine, on Dask, on Slurm, or on Ray; one interface, `concurrent.futures`."""

from lightning_pz.common.executors.opening import check_engine, open_executor
from lightning_pz.common.executors.pieces import Outcome, run_pieces
from lightning_pz.common.executors.settings import Engine, SlurmSettings

__all__ = ["Engine", "Outcome", "SlurmSettings", "check_engine", "open_executor", "run_pieces"]
