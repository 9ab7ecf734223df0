"""Fine-tunes a policy on its own behavior while it is compressed: no reward, only states and its actions there."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_pz.common.errors import UserError
from lightning_pz.common.progress import ProgressBar
from lightning_pz.compression.compressor import Compressed, Compressor
from lightning_pz.compression.environments import World, play_world
from lightning_pz.compression.measures import compare_behavior, outputs
from lightning_pz.compression.methods.quantize import ActivationInt8, calibrate_activations
from lightning_pz.compression.methods.shadow import Shadow
from lightning_pz.compression.modules import Residual, ToBox, copy_of
from lightning_pz.compression.seeds import HELD_OUT_SEEDS, visit_seeds
from lightning_pz.compression.settings import CompressSettings

INT8_RATE = 0.3
"""Learning rate of int8 training, as a share of the one before: levels are near, and only have to be chosen."""
RANK_STATES = 2000
"""States on which a rank by behavior error is chosen, at most, and on which activations are calibrated."""
Log = Callable[[dict[str, float], int], None]


def distill(
    policy: nn.Sequential,
    world: World,
    settings: CompressSettings,
    log: Log,
    *,
    progress: bool | None = False,
    on_steps: Callable[[int], None] = lambda steps: None,
) -> Compressed:
    """Compress a policy.

    It plays, and the compressed one learns its actions in the states visited. In some rounds the compressed one plays,
    and learns what the policy would have done in those states (DAgger, Ross et al., 2011). `log` takes numbers and the
    step they belong to; a progress bar is drawn on a terminal only if `progress` is None; `on_steps` is called with each
    gradient step. States stay in the memory of the host, and their batches go to `distill.device`.
    """
    options, generator = settings.distill, torch.Generator().manual_seed(settings.seed)
    device = usable_device(options.device)
    teacher = copy_of(policy)
    student = (with_rounding(copy_of(policy)) if settings.activations else copy_of(policy)).to(device)
    played = play_world(teacher, world, visit_seeds(settings.seed, 0, options.episodes), keep=True)
    held_out_seeds = range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + options.held_out)
    held_out = play_world(teacher, world, held_out_seeds, keep=True).observations
    states, env_steps = played.observations, int(played.lengths.sum()) + len(held_out)
    wanted = targets(teacher, states.float(), world)
    variance = float((wanted - wanted.mean(0)).square().sum(1).mean()) or 1.0
    compressor = Compressor(student, settings, options.learning_rate, lambda: states[:RANK_STATES].float())
    optimizer = torch.optim.Adam(student.parameters(), lr=options.learning_rate)
    shadow = Shadow(compressor, optimizer)
    base, total = settings.base_steps(), settings.total_steps()
    every = max(1, base // (options.rounds + 1))

    def calibrate() -> None:
        # Roundings are on: each layer's scale is chosen on what the rounded layers before it give.
        if settings.activations:
            some = torch.randint(len(states), (RANK_STATES,), generator=generator)
            calibrate_activations(student, states[some].float().to(device))

    student.train()
    for step in ProgressBar(range(total), unit="step", progress=progress):
        begin, end, peak = (0, base, 1.0) if step < base else (base, total, INT8_RATE)
        rate = peak * options.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - begin) / (end - begin)))
        _set_rates(optimizer, compressor, rate)
        if compressor.advance(step):
            shadow.write()
        if step == base:
            calibrate()
        if step and step % every == 0 and step < base and step // every <= options.rounds:
            seeds = visit_seeds(settings.seed, step // every, options.episodes)
            again = play_world(compressor.finished()[0], world, seeds, keep=True)
            states = torch.cat([states, again.observations])
            wanted = torch.cat([wanted, targets(teacher, again.observations.float(), world)])
            env_steps += int(again.lengths.sum())
        batch = torch.randint(len(states), (options.batch_size,), generator=generator)
        got = targets(student, states[batch].to(device).float(), world, grad=True)
        loss = (got - wanted[batch].to(device)).square().sum(1).mean() / variance
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        on_steps(step + 1)
        if step % max(1, total // 200) == 0:
            log({"distill/loss": float(loss.detach())} | compressor.scalars(), step)
        if step % max(1, total // 20) == 0 or step == total - 1:
            found = compare_behavior(compressor.finished()[0], teacher, held_out, discrete=world.discrete)
            log({"behavior_fvu": found["fvu"]}, step)
    compressor.advance(total)
    if total == base:
        calibrate()
    return Compressed(*compressor.finished(), compressor, env_steps)


def usable_device(name: str) -> torch.device:
    """Return a device; `UserError` if this machine has none such."""
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        problem = str(error).partition(". ")[0].partition("\n")[0]
        raise UserError(
            f"--distill.device expects a device that this machine has, but {name} cannot be used ({problem}): give cpu"
        ) from error


def targets(network: nn.Sequential, states: Tensor, world: World, *, grad: bool = False) -> Tensor:
    """Return the outputs that training compares, (S, A): actions, the layer before a clipping, or centered scores."""
    last = network[-1]
    # Beyond the box an action has no gradient that could bring it back; the layer before has.
    part = nn.Sequential(*list(network)[:-1]) if isinstance(last, ToBox) and last.squash == "clip" else network
    got = part(states) if grad else outputs(part, states)
    return got - got.mean(1, keepdim=True) if world.discrete else got


def with_rounding(network: nn.Sequential) -> nn.Sequential:
    """Return the network with a rounding after every hidden activation; layers keep their names."""
    return nn.Sequential(*map(_rounded, network))


def _rounded(module: nn.Module) -> nn.Module:
    if isinstance(module, (nn.ReLU, nn.Tanh, nn.SiLU)):
        # Both at the place of the one: a module more in the row would rename every layer behind it.
        return nn.Sequential(module, ActivationInt8())
    if isinstance(module, nn.Sequential):
        return with_rounding(module)
    return Residual(with_rounding(module.body)) if isinstance(module, Residual) else module


def _set_rates(optimizer: torch.optim.Optimizer, compressor: Compressor, rate: float) -> None:
    factors = any(stack.factors is not None for stack in compressor.stacks.values())
    moved = [optimizer, compressor.extra] if compressor.extra is not None and factors else [optimizer]
    for group in (group for one in moved for group in one.param_groups):
        group["lr"] = rate
