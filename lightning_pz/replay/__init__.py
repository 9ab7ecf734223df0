"""Kept policies' own episodes, played again from their seeds: returns on any task, and transitions with any reward."""

from lightning_pz.common.lazy_names import lazy_names

__getattr__ = lazy_names(
    __name__,
    {
        "Ranking": "ranking", "Transitions": "transitions", "rank_pool": "ranking",
        "relabeled_transitions": "transitions", "replay_episodes": "replay_episodes",
        "replayed_returns": "replay_episodes",
    },
)  # fmt: skip
