"""Solving tasks: searches in few numbers (or in all weights), and the loop that drives them."""

from typing import TYPE_CHECKING

from lightning_pz.common.lazy_names import lazy_names

if TYPE_CHECKING:
    from lightning_pz.search.algorithms import make_search
    from lightning_pz.search.loop import search_until_done
    from lightning_pz.search.objective import Objective, Problem
    from lightning_pz.search.settings import SearchSettings
    from lightning_pz.search.spaces import SearchSpace, latent_space, parameter_space

__all__ = [
    "Objective", "Problem", "SearchSettings", "SearchSpace", "latent_space", "make_search", "parameter_space",
    "search_until_done",
]  # fmt: skip
__getattr__ = lazy_names(
    __name__,
    {
        "Objective": "objective", "Problem": "objective", "SearchSettings": "settings", "SearchSpace": "spaces",
        "latent_space": "spaces", "make_search": "algorithms", "parameter_space": "spaces", "search_until_done": "loop",
    },
)  # fmt: skip
