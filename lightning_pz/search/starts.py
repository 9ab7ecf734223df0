"""Where a search begins: given policies, a decoder shifted to them, and a first step sized by behavior."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.common.errors import UserError
from lightning_pz.policy import Layout, PolicyNetwork, act_shared, restandardize
from lightning_pz.policy.saved import SavedPolicy, load_policy, policy_file
from lightning_pz.pool.store import Pool
from lightning_pz.probes.jacobian import jacobian_grams, lipschitz, step_scale
from lightning_pz.replay.ranking import find_ranking
from lightning_pz.replay.steady import steady_rows
from lightning_pz.search.settings import STARTS, SearchSettings
from lightning_pz.search.spaces import SearchSpace

_STEPS, _BATCH, _LEARNING_RATE = 400, 256, 0.02
"""Of Adam; its rate falls linearly to 0 and is in standard deviations of each weight under the prior."""
_POINTS = 32  # Latents over which the Lipschitz constant is averaged


def start_file(settings: SearchSettings) -> Path:
    """Return the policy file that `--start` names for the task."""
    path = Path(settings.start)
    return path if path.suffix == ".npz" else path / policy_file(settings.task)


def given_policies(
    network: PolicyNetwork, settings: SearchSettings, pool: Pool | None, rankings: Path, threads: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the weights of the policies to begin at, (n, P), the best first, and states that they visited, (V, O).

    All starts in a pool need it. A task that it does not know is ranked by replaying episodes of its growth, which
    takes no environment step; the folder `rankings` keeps the result. Raises `UserError`: no such policy, or one of another
    network, or what `find_ranking` raises.
    """
    if settings.start in STARTS:
        assert pool is not None
        alone = settings.bo.policies if settings.algorithm == "bo" else 1
        wanted = settings.starts if settings.start == "pool_top" else alone
        ranking = find_ranking(pool, settings.task, rankings, threads=threads)
        rows = (
            steady_rows(pool.arrays["fingerprints"], ranking, wanted)
            if settings.start == "pool_steady"
            else ranking.rows[:wanted]
        )
        return pool.params(rows), torch.from_numpy(pool.arrays["visited"][rows]).flatten(0, 1)
    saved, layout = load_policy(start_file(settings)), network.layout
    boxes = all(torch.equal(getattr(saved, end), getattr(network, end)) for end in ("action_low", "action_high"))
    if saved.layout != layout or not saved.is_plain or not boxes:
        raise UserError(
            f"--start {settings.start} is a policy of the layout {saved.layout.to_dict()} ({_head_name(saved)}), but "
            f"the decoder makes {layout.to_dict()} (head: {layout.head.kind}) for actions of one kind: give a policy of that "
            "kind, such as logs/evaluate/.../best_in_pool/<task>.npz"
        )
    return restandardize(saved.params[None], saved.network(), network), torch.empty(0, layout.observation_size)


def _head_name(policy: SavedPolicy) -> str:
    if policy.is_plain:
        return f"head: {policy.layout.head.kind}"
    return f"last layer: {policy.squash}" if policy.squash != "tanh" else "bounds of another library"


def anchoring_shift(
    layout: Layout,
    decoded: Float[Tensor, "policies params"],
    params: Float[Tensor, "policies params"],
    states: Float[Tensor, "states observation"],
    visited: Float[Tensor, "visited observation"],
    scale: Float[Tensor, " params"],
) -> Float[Tensor, "policies params"]:
    """Return the shift of each decoded policy that makes it act like the policy it was decoded from, (n, P).

    One vector for all latents removes the decoder's error at one latent and keeps its directions around it.
    Distillation without environment steps finds it: it minimizes the mean squared difference of behavior features, half of
    it on states that such policies visit (V is 0 if unknown), from 0, so it stays near the decoder's weights. The difference
    of the weights would not do: many weights act alike, and the decoder's directions are meaningful only around its
    own. States are standardized; a weight whose `scale`, its standard deviation under the prior, is 0 does not change.
    """
    samples = [part for part in (states, visited) if len(part)]
    generator = torch.Generator().manual_seed(0)
    shift = torch.zeros_like(decoded, requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=_LEARNING_RATE)
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * (1 - step / _STEPS)
        rows = [torch.randint(len(part), (_BATCH // len(samples),), generator=generator) for part in samples]
        batch = torch.cat([part[row] for part, row in zip(samples, rows, strict=True)])
        with torch.no_grad():
            target = act_shared(layout, params, batch)
        with torch.enable_grad():
            actions = act_shared(layout, decoded + shift * scale, batch)
            # A sum over policies, so that each one's shift does not depend on the others.
            loss = (actions - target).square().mean((1, 2)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return shift.detach() * scale


def behavior_sigma(
    settings: SearchSettings, layout: Layout, states: Float[Tensor, "states observation"], latents: SearchSpace
) -> float | None:
    """Return `behavior_step` over the decoder's Lipschitz constant, in standard deviations of the latents, or None.

    The constant is a mean over 32 latents of the pool, always the same ones, on standardized states, (S, O).
    """
    if settings.behavior_step is None:
        return None
    points = latents.draw(_POINTS, 0)
    (grams,) = jacobian_grams(lambda point: (act_shared(layout, latents.decode(point[None]), states),), points)
    return step_scale(lipschitz(grams), settings.behavior_step)
