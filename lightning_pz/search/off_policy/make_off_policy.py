"""Makes the off-policy search that settings ask for, with the places where its actor may begin."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.envs.episode_seeds import seed_of
from lightning_pz.replay.transitions import Transitions
from lightning_pz.search.objective import Objective
from lightning_pz.search.off_policy.actor import ActorStart
from lightning_pz.search.off_policy.off_policy_learner import Recipe
from lightning_pz.search.off_policy.off_policy_search import OffPolicySearch
from lightning_pz.search.settings import SearchSettings
from lightning_pz.search.spaces import SearchSpace


def make_off_policy(
    settings: SearchSettings,
    objective: Objective,
    latents: SearchSpace,
    weights: SearchSpace,
    given: Float[Tensor, "policies params"] | None,
    anchor: Callable[[Tensor, Tensor], Tensor] | None,
    old: Callable[[], Transitions] | None,
) -> OffPolicySearch:
    """Return the search; arguments are those of `lightning_pz.search.algorithms.make_search`."""
    s, problem = settings, objective.problem
    tries = s.count_starts(problem.spec.horizon) if s.start in ("draws", "pool_top") else 0
    if given is not None:
        tries = min(tries, len(given))

    @torch.no_grad()
    def starts() -> list[ActorStart]:
        count = max(1, tries)
        if s.space == "weights":
            bases = weights.decode(weights.draw(count, seed_of(s.seed, 0))) if given is None else given[:count]
            return [ActorStart(base) for base in bases]
        if given is None:
            points = latents.draw(count, seed_of(s.seed, 0))
            return [ActorStart(torch.zeros(weights.size), point) for point in points]
        assert latents.encode is not None
        points = latents.encode(given[:count])
        decoded = latents.decode(points)
        shifts = torch.zeros_like(decoded) if anchor is None else anchor(decoded, given[:count])
        return [ActorStart(shift, point) for shift, point in zip(shifts, points, strict=True)]

    decode = None if s.space == "weights" else latents.decode
    recipe = Recipe(s.algorithm, s.off_policy.for_replay(s.replay), decode, s.space != "latent", s.replay)
    return OffPolicySearch(
        recipe,
        starts,
        old,
        problem,
        seed=s.seed,
        budget=s.budget,
        tries=tries * s.start_episodes,
        each=s.start_episodes,
    )
