"""Translates policies from one size to another through the latent that both share, and measures what that keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from lightning_pz.autoencoder import losses
from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.autoencoder.sizes import PolicySize
from lightning_pz.common.statistics import BOOTSTRAP, NONE, Estimate, percentiles, quotient
from lightning_pz.envs.rollout import rollout
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import TaskFunction
from lightning_pz.evaluation.fresh import best_of
from lightning_pz.evaluation.groups import EvaluateConfig, held_out, kept, pool_episodes
from lightning_pz.evaluation.metrics import reconstruction_gap
from lightning_pz.policy import act_shared, acting
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.pool.store import Pool

_CHUNK = 64  # policies whose weights are in memory at a time
_Returns = Mapping[str, np.ndarray]  # by task, (policies, episodes)


@dataclass(frozen=True)
class Translation:
    """Held-out policies of one size, decoded to another, and from there encoded and decoded to their own again."""

    source: str
    target: str
    fvu: float  # on states that decided nothing; 0 perfect, 1 no better than the mean policy
    fvu_back: float  # of the way there and back; equal to `fvu` within one size
    own: _Returns  # returns of the policies themselves
    there: _Returns  # of the translated policies, on the same episodes
    back: _Returns  # of those translated back; empty within one size
    best: Mapping[str, SavedPolicy]  # by task, the translation of the policy with the highest return of its own

    def measures(self, config: EvaluateConfig) -> dict[str, dict[str, float | Estimate]]:
        """Return `return_kept`, `best_own`, `best_translated`, `rank_correlation`, and of the way back the first, by task."""
        found: dict[str, dict[str, float | Estimate]] = {}
        for task in self.own:
            own, there = self.own[task], self.there[task]
            every = [own, there, *([self.back[task]] if self.back else [])]
            valid = np.isfinite(np.concatenate(every, axis=1)).all(axis=1)
            own, there = own[valid], there[valid]
            gap, earned = reconstruction_gap(own, there, config.best)
            means = own.mean(1), there.mean(1)
            constant = any(np.ptp(mean) == 0 for mean in means)
            found[task] = {
                "policies": float(valid.sum()),
                "best_own": earned,
                "best_translated": earned + gap,
                "return_kept": _kept(own, there, config),
                "rank_correlation": float("nan") if constant else float(spearmanr(*means).statistic),
            }
            if self.back:
                back = self.back[task][valid]
                found[task]["best_back"] = earned + reconstruction_gap(own, back, config.best)[0]
                found[task]["return_kept_back"] = _kept(own, back, config)
        return found


def return_kept(
    own: Float[np.ndarray, "policies episodes"], rebuilt: Float[np.ndarray, "policies episodes"], count: int
) -> float:
    """Return the share of their lead over the median policy that the best policies keep: 1 is all, 0 that of the median.

    The `count` best are chosen and measured as in `reconstruction_gap`. NaN where the best earn no more than the median.
    """
    gap, earned = reconstruction_gap(own, rebuilt, count)
    floor = float(np.median(own.mean(1)))
    return quotient(earned + gap - floor, earned - floor, float(np.abs(own).max()))


def _kept(own: np.ndarray, rebuilt: np.ndarray, config: EvaluateConfig) -> Estimate:
    """Return `return_kept` with its bootstrap interval over policies."""
    generator, value = np.random.default_rng(config.latent_seed), return_kept(own, rebuilt, config.best)
    draws = []
    for _ in range(config.draws):
        picks = generator.integers(len(own), size=len(own))
        draws.append(return_kept(own[picks], rebuilt[picks], config.best))
    low, high = map(float, percentiles(np.array(draws)))
    return Estimate(value, low, high, BOOTSTRAP if np.isfinite([low, high]).all() else NONE)


@torch.no_grad()
def translate(
    model: BehaviorAutoencoder, source: PolicySize, targets: Sequence[PolicySize], pool: Pool, states: Tensor,
    tasks: Mapping[str, TaskFunction], config: EvaluateConfig, shared: Path, decides: Mapping[str, Any],
    *, progress: bool = False,
) -> list[Translation]:  # fmt: skip
    """Translate held-out policies of a size's pool to every target; `states`, (S, O), are raw, for the FVU.

    Episodes of the policies themselves are kept in `shared`, as `play_groups` keeps them; see there for `decides`.
    """
    rows, spec = held_out(pool, source.description, config.policies), EnvSpec.from_dict(model.env)
    spans = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    codes = torch.cat([model.encode(pool.params(span), source.policy) for span in spans])
    own_actions = torch.cat([actions(source, pool.params(span), states) for span in spans])

    def play(size: PolicySize, name: str, latents: Tensor | None) -> _Returns:
        network = acting(size.policy, config.sample)
        if progress:
            print(f"  {name}: {len(rows)} policies x {config.episodes} episodes", flush=True)

        def params(numbers: range) -> Tensor:
            own = slice(numbers.start, numbers.stop)
            return pool.params(rows[own]) if latents is None else size.decoder(latents[own])

        how: dict[str, Any] = {"policies": len(rows), "threads": config.cores, "progress": progress}
        run = lambda: rollout(network, params, spec, config.seeds, tasks, **how)  # noqa: E731
        if latents is not None:
            return run().returns
        return kept(shared, "pool", pool_episodes(network, pool, rows, config, decides), list(tasks), run).returns

    own = play(source, f"{source.name}, themselves", None)
    best = {task: best_of(own[task]) for task in tasks}
    found = []
    for target in targets:
        error, again = 0.0, []
        for start in range(0, len(rows), _CHUNK):
            part = slice(start, start + _CHUNK)
            params = target.decoder(codes[part])
            error += float(losses.squared_errors(actions(target, params, states), own_actions[part]).sum())
            again.append(model.encode(params, target.policy))
        spread = float((own_actions - own_actions.mean(0)).double().square().sum())
        fvu = fvu_back = quotient(error, spread, 1.0)
        there, back = play(target, f"{source.name} to {target.name}", codes), dict[str, np.ndarray]()
        if target is not source:
            latents = torch.cat(again)
            parts = zip(latents.split(_CHUNK), own_actions.split(_CHUNK), strict=True)
            errors = [losses.squared_errors(actions(source, source.decoder(z), states), own) for z, own in parts]
            fvu_back = quotient(float(torch.cat(errors).sum()), spread, 1.0)
            back = dict(play(source, f"{source.name} to {target.name} and back", latents))
        saved = {
            task: SavedPolicy.of(acting(target.policy, config.sample), target.decoder(codes[row : row + 1])[0])
            for task, row in best.items()
        }
        found.append(Translation(source.name, target.name, fvu, fvu_back, own, there, back, saved))
    return found


def actions(size: PolicySize, params: Tensor, states: Tensor) -> Float[Tensor, "policies states feature"]:
    """Return the behavior features of policies of a size, (N, P), on raw states, (S, O)."""
    return act_shared(size.layout, params, size.policy.standardize(states))
