"""Named outcomes of a grown pool as the axes of an archive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lightning_pz.common.errors import UserError, nearest
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.growth.outcomes import make_embedding
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.store import Pool

_LABELS = {
    "mean": "mean of observation {} (sd of the state sample)",
    "spread": "spread of observation {} (sd of the state sample)",
    "feature": "mean of Fourier feature {} (times the root of their number)",
}


@dataclass(frozen=True)
class OutcomeAxes:
    """Some coordinates of a pool's outcomes, in units of how much each varies from step to step.

    The unit of an episode's length is a tenth of the growth's horizon. So cells are about as wide along one axis as along another.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "policies axes"]  # of each policy, in the units of `axis_label`

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """The smallest and the largest value along each axis."""
        return [(float(column.min()), float(column.max())) for column in self.values.T]


def axis_label(name: str) -> str:
    """Return what readers are told of an outcome, with its unit."""
    kind, _, number = name.partition(" ")
    return _LABELS[kind].format(number) if number else "length of the episode (tenths of the growth's horizon)"


def choose_axes(pool: Pool, asked: str | None) -> OutcomeAxes:
    """Return the outcomes that a text such as `mean 0,length` names; `all` that vary, or the two of greatest spread if None.

    Raises:
        UserError: A name that the pool does not have, one that is given twice, or an outcome that is the same for all.
    """
    names, outcomes = pool.meta["growth"]["outcome_names"], pool.arrays["outcomes"] / _scales(pool)
    still = {
        *pool.meta["growth"].get("left_out", ()),
        *(names[i] for i in np.flatnonzero(np.ptp(outcomes, axis=0) == 0)),
    }
    if asked is None or asked == "all":
        moving = [i for i, name in enumerate(names) if name not in still]
        spread = outcomes.std(0)[moving]
        chosen = moving if asked == "all" else [moving[i] for i in np.argsort(-spread, kind="stable")[:2]]
    else:
        chosen = [_number(name.strip(), names) for name in asked.split(",")]
        if len(set(chosen)) < len(chosen):
            raise UserError(f"--axes expects each outcome once, but got {asked!r}: leave the second one out")
        for i in chosen:
            if np.ptp(outcomes[:, i]) == 0:
                raise UserError(
                    f"--axes {names[i]} spans no cells, for it is {outcomes[0, i]:.4g} for all policies of {pool.folder}: leave "
                    "it out"
                )
    return OutcomeAxes(tuple(names[i] for i in chosen), outcomes[:, chosen])


def _number(name: str, names: list[str]) -> int:
    if name not in names:
        raise UserError(
            f"--axes expects outcomes of the pool ({', '.join(names)}) with commas between them, or all, but got {name!r}."
            + nearest(name, names)
        )
    return names.index(name)


def _scales(pool: Pool) -> Float[np.ndarray, " outcome"]:
    spec, settings = EnvSpec.from_dict(pool.meta["env"]), pool.meta["growth"].get("settings", {})
    plain = {name: settings.get(name, getattr(GrownRecipe, name)) for name in ("outcome", "features", "seed")}
    sizes = (spec.observation_size, sum(spec.choices) or spec.action_size, plain["features"])
    return make_embedding(plain["outcome"], *sizes, plain["seed"]).scales
