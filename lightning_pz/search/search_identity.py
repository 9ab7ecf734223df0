"""The identity of a search: all settings that decide its result, and the versions of rules that no setting names. Imports no torch.

What is left out where it is not used, or where it is as it always was, lets runs made before it existed be found again.
"""

from __future__ import annotations

from typing import Any

from lightning_pz.search.off_policy.pace_rules import off_policy_rules
from lightning_pz.search.settings import BASELINES, SearchSettings

_SECTIONS = {"pgpe", "cmaes", "bo", "random_latent", "gradient", "baselines", "off_policy"}
_OF_ROLLOUTS = ("ppo", "dqn")
"""Learners between two of whose updates several episodes may end."""


def search_identity(s: SearchSettings) -> dict[str, Any]:
    """Return what decides the result of a search, but not the content of a file in `start`."""
    own = {"parameter_pgpe": "pgpe"} | dict.fromkeys(BASELINES, "baselines" if s.is_rival else "off_policy")
    drop = _SECTIONS - {own.get(s.algorithm, s.algorithm)} | {"checkpoint_seconds"}
    drop -= {"off_policy"} if s.space == "own" else set()
    as_ever = {
        "release_decoder_at": s.algorithm != "gradient" and s.release_decoder_at is None,
        "widen": s.widen is None,
        "behavior_step": s.behavior_step is None,
        "start": s.start == "draws",
        "space": s.space is None,
        "latents": s.latents == "gaussian",
        "hyperparameters": s.hyperparameters == "default",
        "episodes": s.episodes is None,
        "answers_at": not s.answers_at,
        "answers_by": s.answers_by == "episodes",
    }
    drop |= idle_settings(s) | {name for name, is_so in as_ever.items() if is_so}
    plain = {key: value for key, value in vars(s).items() if key not in drop}
    if "off_policy" in plain:
        plain["off_policy"] = _off_policy(s)
    plain = {key: vars(value) if hasattr(value, "__dict__") else value for key, value in plain.items()}
    return plain | _rules(s)


def idle_settings(s: SearchSettings) -> set[str]:
    """Return the names of settings that decide nothing in a search, beside whole sections."""
    tries_none = s.algorithm in ("bo", "random_latent") or s.is_rival or s.start not in ("draws", "pool_top")
    idle = {
        "starts": tries_none,
        "start_share": tries_none,
        "start_episodes": tries_none,
        "latents": not s.draws_latents,
        "anchor": not s.encodes_start,
        "replay": s.space is None,
        "answer_episodes": not s.answers_at,
        "answers_by": not s.answers_at,
    }
    return {name for name, is_idle in idle.items() if is_idle}


def _off_policy(s: SearchSettings) -> dict[str, Any]:
    numbers = dict(vars(s.off_policy.for_replay(s.replay)))
    if numbers["old_steps"] in (None, 1) and s.replay < 1:
        del numbers["old_steps"]
    return numbers


def _rules(s: SearchSettings) -> dict[str, Any]:
    if s.space not in (None, "own"):
        return {"rules": off_policy_rules()}
    if s.algorithm in _OF_ROLLOUTS and s.answers_at and s.answers_by == "episodes":
        # Of version 1 an answer could be several updates old.
        return {"rules": {"answers": 2}}
    return {}
