"""The compress job behind its entry point: train or distill, write the files, measure what they hold."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from lightning_pz import plots
from lightning_pz.checks import is_installed
from lightning_pz.common.statistics import UNKNOWN, mean_interval, read_estimate, share
from lightning_pz.compression import figures
from lightning_pz.compression.distill import TEST_SEEDS, behavior, distill
from lightning_pz.compression.files import read_network
from lightning_pz.compression.latency import latencies
from lightning_pz.compression.network import copy_of, from_saved
from lightning_pz.compression.onnx_export import write_onnx
from lightning_pz.compression.resolve import RunSettings
from lightning_pz.compression.settings import CompressSettings
from lightning_pz.compression.sizes import paper_ratio, sparsity, write_formats
from lightning_pz.compression.sources import check_fits, open_policy
from lightning_pz.compression.stack import layers_of
from lightning_pz.compression.worlds import World, find_world, play
from lightning_pz.console import show_end
from lightning_pz.errors import UserError
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.presets import EnvConfig
from lightning_pz.search.run_folder import RunFolder, digest
from lightning_pz.threads import one_thread

_BEHAVIOR_EPISODES = 5


def compress(env: EnvConfig, settings: CompressSettings, run: RunSettings) -> Path:
    """Do the run that a command asks for, unless it was done before; print the closing table; return its folder.

    Raises:
        UserError: Something does not fit together.
        KeyboardInterrupt: As it came.
    """
    world = find_world(env.id, env.horizon)
    original = _original(settings, world)
    folder = RunFolder.find(Path(run.logs) / "compress" / env.name, _name(settings), _identity(env, settings))
    with folder.lock(), one_thread():
        if folder.summary is None:
            folder.begin({"env": dataclasses.asdict(env), **dataclasses.asdict(settings), "logs": run.logs})
            summary = _run(world, original, settings, folder.path, run.progress)
            _draw(env, summary, folder.path)
            folder.finish(summary)
        assert folder.summary is not None
        _show(folder.summary, folder.path)
    return folder.path


def _run(
    world: World, original: nn.Sequential | None, settings: CompressSettings, folder: Path, progress: bool | None
) -> dict[str, Any]:
    begin = time.process_time()
    if settings.policy is not None:
        assert original is not None
        with SummaryWriter(str(folder)) as writer:

            def log(values: dict[str, float], step: int) -> None:
                for key, value in values.items():
                    writer.add_scalar(key, value, step)

            done: Any = distill(original, world, settings, log, progress=progress)
    else:
        from lightning_pz.compression.train import train

        done = train(world, settings, folder, progress=progress)
        done.model.save(folder / "model.zip")
    seconds = time.process_time() - begin
    dense = copy_of(done.whole) if original is None else copy_of(original)
    meta = {"env": world.id, "method": settings.method}
    own = "sparse_int8" if settings.has("int8") else "sparse"
    sizes = write_formats(dense, done.final, own, folder, meta)
    onnx_files = _write_onnx(done.final, world, folder)
    scalars = done.compressor.scalars()
    summary: dict[str, Any] = {
        "env": world.id,
        "algorithm": None if settings.policy else settings.algorithm,
        "policy": settings.policy,
        "method": settings.method,
        "seed": settings.seed,
        "steps": settings.total_steps(),
        "env_steps": done.env_steps,
        "cpu_seconds": round(seconds, 1),
        "weights": sum(layer.weight.numel() for layer in layers_of(dense).values()),
        # What was pruned or gated off; a few more weights may be zero because they round to it.
        "sparsity": scalars["sparsity"],
        "zeros": sparsity(done.whole),
        "sparsity_target": settings.sparsity if settings.has("prune") else None,
        "gates_closed": done.compressor.gates_closed,
        **{name: value for name, value in scalars.items() if name.startswith(("sparsity/", "rank/"))},
        **{f"bytes_{name}": size for name, size in sizes.items()},
        "bytes_file": (folder / "policy.lpz").stat().st_size,
        "format": own,
        **{f"bytes_{name}": path.stat().st_size for name, path in onnx_files.items()},
        "paper_ratio": paper_ratio(done.final, 8 if settings.has("int8") else 32),
    }
    summary["file_ratio"] = summary["bytes_float32"] / summary["bytes_file"]
    # From the file, as a fresh process would have it: what is measured is what is delivered.
    deployed, _ = read_network(folder / "policy.lpz")
    ways = {"torch": deployed, "torch_dense": dense}
    summary |= {f"latency_us_{name}": value for name, value in latencies(ways, onnx_files, world.shape).items()}
    return summary | _worth(deployed, original, world, settings)


def _worth(
    deployed: nn.Sequential, original: nn.Sequential | None, world: World, settings: CompressSettings
) -> dict[str, Any]:
    """Return what fresh episodes tell: returns, and, where there is an original, how like it the policy is."""
    seeds = range(TEST_SEEDS, TEST_SEEDS + settings.episodes)
    returns = play(deployed, world, seeds).returns
    values: dict[str, Any] = dict(mean_interval(returns).keys("return"))
    values["episodes"] = settings.episodes
    if original is None:
        return values | {"return_dense": None, "behavior_fvu": None}
    dense = play(original, world, seeds)
    states = play(original, world, seeds[:_BEHAVIOR_EPISODES], keep=True).observations
    values |= mean_interval(dense.returns).keys("return_dense")
    values |= mean_interval(returns - dense.returns).keys("return_difference")
    kept = share(returns, dense.returns) or UNKNOWN
    values |= kept.keys("return_kept")
    return values | {f"behavior_{key}": value for key, value in behavior(deployed, original, states, world).items()}


def _original(settings: CompressSettings, world: World) -> nn.Sequential | None:
    """Return the policy to compress, or the dense one to measure a trained one against; None where there is neither."""
    path = settings.policy or settings.reference
    if path is None:
        return None
    network = _decoded(path, settings, world) if path.endswith(".ckpt") else open_policy(path)
    check_fits(network, world, path)
    return copy_of(network)


def _decoded(path: str, settings: CompressSettings, world: World) -> nn.Sequential:
    """Return the policy that a checkpoint's decoder makes of a latent."""
    from lightning_pz.autoencoder.module import load_autoencoder

    model = load_autoencoder(path)
    size, latent = model.hparams["latent_dim"], settings.latent or []
    if model.env["id"] != world.id:
        raise UserError(f"{path} was made for {model.env['id']}, but --env is {world.id}: give the right --env")
    if len(latent) != size:
        raise UserError(f"--latent expects {size} numbers for {path}, but got {len(latent)}")
    with torch.no_grad():
        params = model.decoder(torch.tensor([latent], dtype=torch.float32))[0]
    return from_saved(SavedPolicy.of(model.policy, params))


def _write_onnx(network: nn.Sequential, world: World, folder: Path) -> dict[str, Path]:
    if not is_installed("onnx"):
        print("note: no ONNX files were written, for they need the package onnx: pip install 'lightning_pz[onnx]'")
        return {}
    files = {"onnx": folder / "policy.onnx", "onnx_int8": folder / "policy_int8.onnx"}
    for name, path in files.items():
        write_onnx(network, world.shape, path, int8=name == "onnx_int8")
    return files


def _name(settings: CompressSettings) -> str:
    what = "distill" if settings.policy else settings.algorithm
    level = f"-{settings.sparsity:g}" if settings.has("prune") else ""
    return f"{what}-{settings.method.replace('+', '-')}{level}-seed{settings.seed}"


def _identity(env: EnvConfig, settings: CompressSettings) -> str:
    """Return a digest of everything that decides the result."""
    plain = dataclasses.asdict(settings)
    for key in ("policy", "reference"):
        if plain[key] is not None:
            plain[key] = hashlib.sha256(Path(plain[key]).read_bytes()).hexdigest()
    return digest(dataclasses.asdict(env) | plain)


def _draw(env: EnvConfig, summary: dict[str, Any], folder: Path) -> None:
    """Draw the figures, the last one over this run and all finished ones that began alike."""
    title = f"{env.name}, {summary['method']}"
    sizes = {key[6:]: value for key, value in summary.items() if key.startswith("bytes_") and key != "bytes_file"}
    layers = {key[9:]: value for key, value in summary.items() if key.startswith("sparsity/")}
    whole, _ = read_network(folder / "formats" / "float32.lpz")
    weights = {name: layer.weight.numel() for name, layer in layers_of(whole).items()}
    found = [json.loads(path.read_text()) for path in sorted(folder.parent.glob("*/summary.json"))]
    # Only what began with the same policy, or was trained by the same algorithm, can be compared.
    runs = [run for run in found if all(run[key] == summary[key] for key in ("policy", "algorithm"))] + [summary]
    made = {
        "bytes": figures.bytes_by_format(sizes, title),
        "sparsity": figures.sparsity_by_layer(layers, weights, title),
        "trade_off": figures.trade_off(runs, env.name),
    }
    for name, figure in made.items():
        plots.save(figure, folder / "figures" / f"{name}.png")
        plots.plt.close(figure)


def _show(summary: dict[str, Any], folder: Path) -> None:
    def span(key: str, pattern: str) -> str:
        found = read_estimate(summary, key)
        return "none" if found is None else f"{found.value:{pattern}}{found.ends(pattern)}"

    rows = {
        "environment": summary["env"],
        "method": summary["method"],
        "sparsity": f"{summary['sparsity']:.2%} of {summary['weights']:,} weights",
        "return": span("return", ",.1f"),
        "return of the dense policy": span("return_dense", ",.1f"),
        "share kept": span("return_kept", ".1%"),
        "behavior FVU": "none" if summary["behavior_fvu"] is None else f"{summary['behavior_fvu']:.4f}",
        "file": f"{summary['bytes_file']:,} bytes ({summary['format']})",
        "float32 file over it": f"{summary['file_ratio']:.1f}",
        "the paper's ratio": f"{summary['paper_ratio']:.1f} (surviving weights only)",
        "latency": f"{summary['latency_us_torch']:.0f} us (dense {summary['latency_us_torch_dense']:.0f} us)",
        "CPU seconds": f"{summary['cpu_seconds']:.0f}",
    }
    if summary["gates_closed"] is not None:
        rows["gates closed"] = f"{summary['gates_closed']:.1%}"
    show_end(rows, f"tensorboard --logdir {folder.parent}", folder)
