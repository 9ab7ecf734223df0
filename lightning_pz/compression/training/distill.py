"""Fine-tuning a policy on its own behavior while it is made small: no reward, only states and what it did there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lightning_pz.compression.compressor import Compressor
from lightning_pz.compression.environments import World, play_world
from lightning_pz.compression.methods.quantize import ActivationInt8
from lightning_pz.compression.network import Residual, ToBox, copy_of, fvu, outputs
from lightning_pz.compression.seeds import HELD_OUT_SEEDS, visit_seeds
from lightning_pz.compression.settings import CompressSettings

_INT8_RATE = 0.3
"""Learning rate of int8 training, as a share of the one before: levels are near, and only have to be chosen."""
_RANK_STATES = 2000
Log = Callable[[dict[str, float], int], None]


@dataclass(frozen=True)
class Distilled:
    """A policy made small by its own behavior.

    Attributes:
        whole: The network with whole layers.
        final: The same with low-rank layers split in two.
        compressor: What was done to it.
        env_steps: Environment steps taken to visit states.
    """

    whole: nn.Sequential
    final: nn.Sequential
    compressor: Compressor
    env_steps: int


def distill(
    policy: nn.Sequential, world: World, settings: CompressSettings, log: Log, *, progress: bool | None = False
) -> Distilled:
    """Compress a policy.

    It plays, and what it did in the states it visited is what the compressed one learns. Now and then the
    compressed one plays, and learns what the policy would have done where it got to (DAgger, Ross et al., 2011).

    Args:
        policy: What is to be made small; not changed.
        world: Where it plays.
        settings: What to do.
        log: Takes numbers and the step they belong to.
        progress: Whether to draw a progress bar; on a terminal only if None.
    """
    options, torch_random = settings.distill, torch.Generator().manual_seed(settings.seed)
    teacher = copy_of(policy)
    student = with_rounding(copy_of(policy)) if settings.activations else copy_of(policy)
    played = play_world(teacher, world, visit_seeds(settings.seed, 0, options.episodes), keep=True)
    held_out = play_world(
        teacher, world, range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + options.held_out), keep=True
    ).observations  # fmt: skip
    states, env_steps = played.observations, int(played.lengths.sum()) + len(held_out)
    wanted = targets(teacher, states.float(), world)
    variance = float((wanted - wanted.mean(0)).square().sum(1).mean()) or 1.0
    compressor = Compressor(student, settings, options.learning_rate, lambda: states[:_RANK_STATES].float())
    compressor.parametrize()
    own = {id(parameter) for stack in compressor.stacks.values() for parameter in stack.parameters()}
    weights = [parameter for parameter in student.parameters() if id(parameter) not in own]
    optimizer = torch.optim.Adam(weights, lr=options.learning_rate)
    base, total = settings.base_steps(), settings.total_steps()
    every = max(1, base // (options.rounds + 1))
    student.train()
    for step in tqdm(range(total), unit="step", disable=None if progress is None else not progress):
        _set_rates(optimizer, compressor, _rate(options.learning_rate, step, base, total))
        compressor.advance(step)
        if step and step % every == 0 and step < base and step // every <= options.rounds:
            seeds = visit_seeds(settings.seed, step // every, options.episodes)
            again = play_world(compressor.finished()[0], world, seeds, keep=True)
            states = torch.cat([states, again.observations])
            wanted = torch.cat([wanted, targets(teacher, again.observations.float(), world)])
            env_steps += int(again.lengths.sum())
        batch = torch.randint(len(states), (options.batch_size,), generator=torch_random)
        got = targets(student, states[batch].float(), world, grad=True)
        loss = (got - wanted[batch]).square().sum(1).mean() / variance
        penalty = compressor.penalty()
        optimizer.zero_grad(set_to_none=True)
        if compressor.extra is not None:
            compressor.extra.zero_grad(set_to_none=True)
        (loss if penalty is None else loss + penalty).backward()
        optimizer.step()
        if compressor.extra is not None:
            compressor.extra.step()
        compressor.draw()
        if step % max(1, total // 200) == 0:
            log({"distill/loss": float(loss.detach())} | compressor.scalars(), step)
        if step % max(1, total // 20) == 0 or step == total - 1:
            log({"behavior_fvu": behavior(compressor.finished()[0], teacher, held_out, world)["fvu"]}, step)
    compressor.advance(total)
    student.eval()
    whole, final = compressor.finished()
    compressor.unparametrize()
    return Distilled(whole, final, compressor, env_steps)


def behavior(
    compressed: nn.Sequential, original: nn.Sequential, states: Tensor, world: World
) -> dict[str, float]:  # fmt: skip
    """Return `fvu` of the compressed policy's outputs on states, and for discrete actions `agreement`."""
    got, wanted = outputs(compressed, states.float()), outputs(original, states.float())
    values = {"fvu": fvu(got, wanted, scores=world.discrete)}
    if world.discrete:
        values["agreement"] = float((got.argmax(1) == wanted.argmax(1)).float().mean())
    return values


def targets(network: nn.Sequential, states: Tensor, world: World, *, grad: bool = False) -> Tensor:
    """Return what is compared in training, (S, A): actions, the last layer where it is clipped, or centered scores."""
    last = network[-1]
    # Beyond the box an action has no gradient that could bring it back; the layer before has.
    part = nn.Sequential(*list(network)[:-1]) if isinstance(last, ToBox) and last.squash == "clip" else network
    got = part(states) if grad else outputs(part, states)
    return got - got.mean(1, keepdim=True) if world.discrete else got


def _rate(peak: float, step: int, base: int, total: int) -> float:
    if step < base:
        return peak * 0.5 * (1 + math.cos(math.pi * step / base))
    return _INT8_RATE * peak * 0.5 * (1 + math.cos(math.pi * (step - base) / (total - base)))


def _set_rates(optimizer: torch.optim.Optimizer, compressor: Compressor, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    factors = any(stack.factors is not None for stack in compressor.stacks.values())
    if compressor.extra is not None and factors:
        for group in compressor.extra.param_groups:
            group["lr"] = rate


def with_rounding(network: nn.Sequential) -> nn.Sequential:
    """Return the network with a rounding after every hidden activation; layers keep their names."""
    return nn.Sequential(*(_rounded(module) for module in network))


def _rounded(module: nn.Module) -> nn.Module:
    if isinstance(module, (nn.ReLU, nn.Tanh, nn.SiLU)):
        # Both at the place of the one: a module more in the row would rename every layer behind it.
        return nn.Sequential(module, ActivationInt8())
    if isinstance(module, nn.Sequential):
        return with_rounding(module)
    return Residual(with_rounding(module.body)) if isinstance(module, Residual) else module
