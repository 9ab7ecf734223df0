"""Registers an environment whose episodes begin as those of a rival with seed 0 do, for RL Zoo's own tool."""

import gymnasium

from lightning_pz.envs.specs import env_spec
from lightning_pz.search.rivals.replayable import ReplayableEpisodes

ID = "SameStarts-v0"


def _make(horizon: int, **_: object) -> gymnasium.Env:
    made = env_spec("MountainCarContinuous-v0").make(max_episode_steps=horizon)
    return ReplayableEpisodes(made, seed=0, index=0, count=1)


gymnasium.register(ID, entry_point=_make, kwargs={"horizon": 25})
