"""Makes the search that settings ask for; the one place that knows every algorithm by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from lightning_pz.replay.transitions import Transitions
from lightning_pz.search.action_checks import check_actions, check_actor, check_noise
from lightning_pz.search.bayesian import BoSearch
from lightning_pz.search.generation import Search
from lightning_pz.search.gradient import GradientSearch
from lightning_pz.search.objective import Objective
from lightning_pz.search.off_policy.make_off_policy import make_off_policy
from lightning_pz.search.optimizers.cmaes import Cmaes
from lightning_pz.search.optimizers.pgpe import Pgpe
from lightning_pz.search.optimizers.protocol import Optimizer
from lightning_pz.search.optimizers.random_latent import RandomLatent
from lightning_pz.search.population import PopulationSearch
from lightning_pz.search.rivals.hyperparameters import default_hyperparameters, with_old_data, zoo_hyperparameters
from lightning_pz.search.rivals.search import BaselineSearch
from lightning_pz.search.rivals.zoo import zoo_entry
from lightning_pz.search.settings import SearchSettings
from lightning_pz.search.spaces import SearchSpace, widened_space


def make_search(
    settings: SearchSettings,
    objective: Objective,
    latents: SearchSpace,
    weights: SearchSpace,
    given: Float[Tensor, "policies params"] | None = None,
    anchor: Callable[[Tensor, Tensor], Tensor] | None = None,
    latent_sigma: float | None = None,
    old: Callable[[], Transitions] | None = None,
) -> Search:
    """Return the search that the settings ask for.

    Raises `UserError`: a missing extra, a seed that the algorithm cannot take, or actions of another kind than it takes.

    Args:
        given: Weights of the policies to begin at or to try, (n, P); None if `start` is `draws`.
        anchor: From decoded weights and those of the policies they were decoded from, each (n, P), to what is added to
            the former, for searches in latents that begin at given policies; nothing if None.
        latent_sigma: First standard deviation of `pgpe` or `cmaes` in the latents; the settings' if None. An offset of
            weights beside the latents and weights after a release keep the settings' own `sigma`.
        old: Returns what off-policy searches learn from before the first step; nothing if None.
    """
    s = settings
    if s.space not in (None, "own"):
        check_actor(s, objective.problem.network.layout.head)
        return make_off_policy(s, objective, latents, weights, given, anchor, old)
    if s.is_rival:
        problem = objective.problem
        check_actions(s.algorithm, problem.spec.id, problem.spec.choices)
        if s.hyperparameters == "zoo":
            made = zoo_hyperparameters(s.algorithm, zoo_entry(s.algorithm, problem.spec.id), s.budget)
        else:
            made = default_hyperparameters(s.algorithm, problem.network.layout.hidden, s.budget)
        stops = {"episodes": [] if s.episodes is None else [s.episodes], "steps": []}
        stops[s.answers_by] += s.answers_at
        own: dict[str, Any] = {"seed": s.seed, "budget": s.budget, "chunk": s.baselines.chunk, "stops": stops}
        return BaselineSearch(s.algorithm, made if old is None else with_old_data(made, old, s), problem, **own)
    if s.algorithm == "bo":
        return BoSearch(objective=objective, space=latents, settings=s.bo, seed=s.seed, given=given, anchor=anchor)
    starts = s.count_starts(objective.problem.spec.horizon)
    common: dict[str, Any] = {
        "objective": objective, "weights": weights, "seed": s.seed, "start_episodes": s.start_episodes,
        "release_at": s.release_decoder_at,
    }  # fmt: skip
    if s.algorithm == "gradient":
        check_noise(s, objective.problem.network.layout.head)
        return GradientSearch(settings=s.gradient, latents=latents, starts=starts, **common)
    space, episodes = latents, s.pgpe.episodes
    optimizer: Optimizer = Pgpe(s.pgpe if latent_sigma is None else replace(s.pgpe, sigma=latent_sigma))
    if s.algorithm == "parameter_pgpe":
        space = weights
    elif s.algorithm == "cmaes":
        optimizer = Cmaes(s.cmaes if latent_sigma is None else replace(s.cmaes, sigma=latent_sigma), latents.size)
        episodes = s.cmaes.episodes
    elif s.algorithm == "random_latent":
        assert latents.sample is not None
        # Its own generations play the part of the others' starts.
        optimizer, episodes, starts = RandomLatent(s.random_latent, latents.sample), s.random_latent.episodes, 0
    elif s.widen is not None:
        # One sigma serves all coordinates, so the unit of the offset compensates for that of the latents.
        share = s.widen if latent_sigma is None else s.widen * s.pgpe.sigma / latent_sigma
        space = widened_space(latents, weights, share)
    points, shift = None, None
    if s.start != "draws":
        assert given is not None and space.encode is not None
        points = space.encode(given)
        starts = min(len(points), starts) if s.start == "pool_top" else 0
        if anchor is not None:
            around, params = anchor, given

            def shift(tried: Tensor) -> Tensor:
                return around(space.decode(tried), params[: len(tried)])

    return PopulationSearch(
        optimizer=optimizer, space=space, episodes=episodes, given=points, anchor=shift, starts=starts, released=Pgpe(s.pgpe),
        **common,
    )  # fmt: skip
