"""Compares search algorithms: finished runs in, curves with intervals, tables and wins out."""

from typing import TYPE_CHECKING

from lightning_pz.common.lazy_names import lazy_names

if TYPE_CHECKING:
    from lightning_pz.comparison.analysis import analyze
    from lightning_pz.comparison.labels import search_label
    from lightning_pz.comparison.pool_best import find_pools
    from lightning_pz.comparison.search_runs import find_runs, group_runs
    from lightning_pz.comparison.wins import rounds

__all__ = ["analyze", "find_pools", "find_runs", "group_runs", "rounds", "search_label"]
__getattr__ = lazy_names(
    __name__,
    {
        "analyze": "analysis", "find_pools": "pool_best", "find_runs": "search_runs", "group_runs": "search_runs",
        "rounds": "wins", "search_label": "labels",
    },
)  # fmt: skip
