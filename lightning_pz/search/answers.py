"""What a search would answer after some number of episodes or steps: kept on the way, measured at the end."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lightning_pz.common.files import write_text
from lightning_pz.common.run_folder import RunFolder
from lightning_pz.common.statistics import mean_interval
from lightning_pz.envs.episode_seeds import TEST_SEEDS
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.objective import Objective
from lightning_pz.search.settings import AnswersBy

ANSWER_COLUMNS = ("env_steps", "return", "return_low", "return_high")
"""Columns of answers.csv behind the count that was asked for; the interval is that of `mean_interval` over episodes."""


class Answer(NamedTuple):
    """The policy that a user would hold after some episodes, or steps, of a search."""

    at: int  # as many as were asked for; the search may have taken fewer, where the next generation took more
    env_steps: int  # that the search had taken
    policy: SavedPolicy


def due_answers(at: Sequence[int], before: int, after: int) -> list[int]:
    """Return the counts whose answer is the incumbent before a generation that leads from `before` to `after`.

    One that ends no episode leads nowhere: a count is due again until there is one, and the first time counts.
    """
    return [count for count in at if count == before or before < count < after]


def write_answers(
    folder: RunFolder, answers: Sequence[Answer], objective: Objective, episodes: int, by: AnswersBy
) -> None:
    """Play fresh episodes, which chose nothing, with each answer; write answers.csv, whose first column is named `by`."""
    seeds = list(range(TEST_SEEDS, TEST_SEEDS + episodes))
    known: dict[str, np.ndarray] = {}
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow([by, *ANSWER_COLUMNS])
    for answer in answers:
        # A search often keeps its answer for many episodes.
        if (key := answer.policy.digest()) not in known:
            known[key] = objective.measure(answer.policy, seeds).each[0]
        writer.writerow([answer.at, answer.env_steps, *mean_interval(known[key])[:3]])
    write_text(folder.path / "answers.csv", file.getvalue())
