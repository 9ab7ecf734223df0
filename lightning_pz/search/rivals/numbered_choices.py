"""Actions that are chosen, as learners of Stable-Baselines3 take them: numbered from 0."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete

from lightning_pz.envs.simulators.gymnasium_loop import to_action
from lightning_pz.envs.specs import EnvSpec


class NumberedChoices(gymnasium.ActionWrapper):
    """An environment whose choices begin at 0: `Discrete` where an action is one choice, else `MultiDiscrete`.

    The library's learners know no other smallest number, and a `MultiBinary` as independent bits, which is the same
    as choices of two each.
    """

    def __init__(self, env: gymnasium.Env, spec: EnvSpec) -> None:
        super().__init__(env)
        self._least = np.array(spec.action_low, dtype=np.int64)
        self.action_space = Discrete(spec.choices[0]) if len(spec.choices) == 1 else MultiDiscrete(list(spec.choices))

    def action(self, action: Any) -> Any:
        """Return the action as the environment's own space has it."""
        return to_action(self.env, np.atleast_1d(action) + self._least)
