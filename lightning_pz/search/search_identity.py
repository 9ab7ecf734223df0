"""The identity of a search: all settings that decide its result, and the versions of rules that no setting names. Imports no torch.

What is left out where it is not used, or where it is as it always was, lets runs made before it existed be found again.
"""

from __future__ import annotations

from typing import Any

from lightning_pz.search.off_policy.rules import off_policy_rules
from lightning_pz.search.settings import BASELINES, SearchSettings

_SECTIONS = {"pgpe", "cmaes", "bo", "random_latent", "gradient", "baselines", "off_policy"}
_OF_ROLLOUTS = ("ppo", "dqn")
"""Learners between two of whose updates several episodes may end."""


def search_identity(s: SearchSettings) -> dict[str, Any]:
    """Return what decides the result of a search, but not the content of a file in `start`."""
    own = {"parameter_pgpe": "pgpe"} | dict.fromkeys(BASELINES, "baselines" if s.is_rival else "off_policy")
    drop = _SECTIONS - {own.get(s.algorithm, s.algorithm)} | {"checkpoint_seconds"}
    drop -= {"off_policy"} if s.space == "own" else set()
    unused = {
        "release_decoder_at": s.algorithm != "gradient" and s.release_decoder_at is None,
        "widen": s.widen is None,
        "behavior_step": s.behavior_step is None,
        "start": s.start == "draws",
        "space": s.space is None,
        "replay": s.space is None,
        "latents": not s.draws_latents or s.latents == "gaussian",
        "anchor": not s.encodes_start,
        "hyperparameters": s.hyperparameters == "default",
        "episodes": s.episodes is None,
        "answers_at": not s.answers_at,
        "answer_episodes": not s.answers_at,
        "answers_by": not s.answers_at or s.answers_by == "episodes",
    }
    drop |= {name for name, is_unused in unused.items() if is_unused}
    if s.algorithm in ("bo", "random_latent") or s.is_rival or s.start not in ("draws", "pool_top"):
        drop |= {"starts", "start_share", "start_episodes"}
    plain = {key: value for key, value in vars(s).items() if key not in drop}
    if "off_policy" in plain:
        plain["off_policy"] = _off_policy(s)
    plain = {key: vars(value) if hasattr(value, "__dict__") else value for key, value in plain.items()}
    return plain | _rules(s)


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
