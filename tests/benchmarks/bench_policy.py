"""Speed of policies: forward and backward per size as a share of this machine's matrix product, drawing, novelty."""

import numpy as np
import pytest
import torch

from lightning_pz.policy import Layout, Prior, act_shared, draw_params, policy_chunk
from lightning_pz.pool.novelty import novelty
from lightning_pz.pool.sampling import act_on

LAYOUTS = {"small": (2,), "medium": (32, 32), "5702": (64, 64), "large": (400, 300)}


def flops_per_state(layout):
    return 2 * sum(out * size for out, size in layout.weight_shapes)


def gemm_rate(benchmark_seconds):
    """FLOP/s of a large single-thread matrix product, measured beside."""
    a = torch.randn(1024, 1024)
    return 2 * 1024**3 / benchmark_seconds(lambda: a @ a)


@pytest.fixture
def seconds():
    """Median seconds of a call over at least five repeats."""
    import time

    def measure(call, repeats=7):
        call()
        times = []
        for _ in range(repeats):
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
        return float(np.median(times))

    return measure


@pytest.mark.parametrize("states", [64, 1000])
@pytest.mark.parametrize("size", LAYOUTS)
def test_forward(benchmark, seconds, size, states):
    layout = Layout(2 if size == "large" else 17, LAYOUTS[size], 1 if size == "large" else 6)
    count = max(4, min(512, 20_000_000 // (layout.num_params * states)))
    params = draw_params(Prior(), layout, 0, range(count))
    observations = torch.randn(states, layout.observation_size)
    out = torch.empty(count, states, layout.action_size)
    benchmark(act_on, layout, params, observations, out)
    taken = seconds(lambda: act_on(layout, params, observations, out))
    share = flops_per_state(layout) * count * states / taken / gemm_rate(seconds)
    print(f"\n  forward {size} ({layout.num_params} weights, {states} states): {share:.2f} of GEMM, "
          f"{1e9 * taken / count / states:.0f} ns per policy and state")  # fmt: skip


@pytest.mark.parametrize("size", ["5702", "large"])
def test_training_step(benchmark, seconds, size):
    """Forward and backward through decoded policies, gradient with respect to their weights."""
    layout = Layout(2 if size == "large" else 17, LAYOUTS[size], 1 if size == "large" else 6)
    count, states = (16, 256) if size == "large" else (64, 64)
    params = draw_params(Prior(), layout, 0, range(count)).requires_grad_()
    observations = torch.randn(states, layout.observation_size)

    def step():
        params.grad = None
        act_shared(layout, params, observations).square().mean().backward()

    benchmark(step)
    share = 3 * flops_per_state(layout) * count * states / seconds(step) / gemm_rate(seconds)
    print(f"\n  training step {size}: {share:.2f} of GEMM")


@pytest.mark.parametrize("size, count", [("small", 20_000), ("medium", 2000), ("large", 50)])
def test_drawing(benchmark, size, count):
    layout = Layout(17, LAYOUTS[size], 6)
    benchmark.pedantic(draw_params, (Prior(), layout, 0, range(count)), rounds=5)


@pytest.mark.parametrize("count", [20_000, 50_000])
def test_novelty(benchmark, seconds, count):
    points = torch.tanh(torch.randn(count, 768, generator=torch.Generator().manual_seed(0)))
    benchmark.pedantic(novelty, (points, 15), {"progress": False}, rounds=1)
    share = 2 * count**2 * 768 / benchmark.stats.stats.median / gemm_rate(seconds)
    print(f"\n  novelty of {count} points x 768: {share:.2f} of GEMM")


def test_chunks_of_policies_pay(seconds):
    layout = Layout(17, (64, 64), 6)
    params, observations = draw_params(Prior(), layout, 0, range(512)), torch.randn(1000, 17)
    out = torch.empty(512, 1000, 6)
    chunked = seconds(lambda: act_on(layout, params, observations, out))
    with torch.no_grad():
        whole = seconds(lambda: act_shared(layout, params, observations))
    print(
        f"\n  512 policies in chunks of {policy_chunk(layout, 1000)}: {whole / chunked:.2f} times the speed of one call"
    )
