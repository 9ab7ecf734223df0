"""The compress job behind its entry point: train or distill, write the files, measure what they hold."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from lightning_pz.common import plots
from lightning_pz.common.checks import is_installed
from lightning_pz.common.console import show_end
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import file_digest
from lightning_pz.common.identity import digest, source_digest
from lightning_pz.common.known_folders import Identity, claim
from lightning_pz.common.run_folder import RunFolder
from lightning_pz.common.statistics import UNKNOWN, mean_interval, read_estimate, share
from lightning_pz.common.threads import one_thread
from lightning_pz.compression import figures
from lightning_pz.compression.environments import World, find_world, play
from lightning_pz.compression.formats.files import read_network
from lightning_pz.compression.formats.onnx_export import write_onnx
from lightning_pz.compression.formats.sizes import paper_ratio, sparsity, write_formats
from lightning_pz.compression.latency import latencies
from lightning_pz.compression.methods.stack import layers_of
from lightning_pz.compression.network import copy_of, from_saved
from lightning_pz.compression.open_policy import check_fits, open_policy
from lightning_pz.compression.resolve import RunSettings
from lightning_pz.compression.seeds import TEST_SEEDS
from lightning_pz.compression.settings import RESUME, CompressSettings
from lightning_pz.compression.training.distill import behavior, distill
from lightning_pz.envs.presets import EnvConfig
from lightning_pz.policy.saved import SavedPolicy

_BEHAVIOR_EPISODES = 5


def compress(env: EnvConfig, settings: CompressSettings, run: RunSettings) -> Path:
    """Do the run that a command asks for, unless it was done before; print the closing table; return its folder.

    Raises:
        UserError: Something does not fit together.
        KeyboardInterrupt: As it came.
    """
    world = find_world(env.id, env.horizon)
    original = _original(settings, world)
    config = {"env": dataclasses.asdict(env), **dataclasses.asdict(settings), "logs": run.logs}
    parent = Path(run.logs) / "compress" / env.name
    own = Identity(identity(world, settings))
    folder = RunFolder(claim([parent], _name(settings), own), own)
    with folder.lock(), one_thread():
        if folder.summary is None:
            folder.begin(config)
            folder.write_summary(_run(world, original, settings, folder.path, run.progress))
            shutil.rmtree(folder.path / RESUME, ignore_errors=True)
        assert folder.summary is not None
        # After the summary, so that no figure can cost a training; the last one of them tells that all are there.
        if not (folder.path / "figures" / "trade_off.png").is_file():
            _draw(env, folder.summary, folder.path)
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
        from lightning_pz.compression.training.sb3_run import train

        done = train(world, settings, folder, progress=progress)
        done.model.save(folder / "model.zip")
    seconds = time.process_time() - begin
    # A reference may have other layers than what is trained here: it measures returns, not bytes.
    dense = copy_of(done.whole) if original is None or settings.policy is None else copy_of(original)
    meta = {"env": world.id, "method": settings.method}
    own = "sparse_int8" if settings.has("int8") else "sparse"
    sizes = write_formats(dense, done.final, own, folder, meta)
    onnx_files = _write_onnx(done.final, world, folder)
    scalars = done.compressor.scalars()
    summary: dict[str, Any] = {
        "env": world.id,
        "algorithm": None if settings.policy else settings.algorithm,
        "policy": settings.policy,
        "normalization": settings.normalization,
        # Equal for runs that can be compared: the same environment and algorithm or policy, whatever their names.
        "origin": _origin(world, settings),
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
        "paper_ratio": paper_ratio(dense, done.final, 8 if settings.has("int8") else 32),
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
    network = (
        _decoded(path, settings, world) if path.endswith(".ckpt") else open_policy(path, world, settings.normalization)
    )
    check_fits(network, world, path)
    return copy_of(network)


def _decoded(path: str, settings: CompressSettings, world: World) -> nn.Sequential:
    """Return the policy that a checkpoint's decoder makes of a latent."""
    from lightning_pz.autoencoder.load import load_autoencoder

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


def identity(world: World, settings: CompressSettings) -> dict[str, Any]:
    """Return everything that decides a run's result as plain data: the environment, settings, and the content of what
    settings only name, which are files and classes.
    """
    plain = dataclasses.asdict(settings)
    for key in ("policy", "reference", "normalization"):
        if plain[key] is not None:
            plain[key] = file_digest(Path(plain[key]))
    sources = {}
    if settings.policy is None:
        from lightning_pz.compression.training.sb3_run import CLASSES, class_of

        inner = settings.model.get(settings.algorithm, {}).get("policy_kwargs", {})
        for key in CLASSES:
            if isinstance(inner.get(key), str):
                sources[key] = source_digest(class_of(f"model.{settings.algorithm}.policy_kwargs.{key}", inner[key]))
    return {"world": dataclasses.asdict(world), "settings": plain, "sources": sources}


def _origin(world: World, settings: CompressSettings) -> str:
    whole = identity(world, settings)
    keys = ("policy", "latent", "normalization") if settings.policy else ("algorithm",)
    return digest([whole["world"], {key: whole["settings"][key] for key in keys}])[:16]


def _draw(env: EnvConfig, summary: dict[str, Any], folder: Path) -> None:
    """Draw the figures, the last one over this run and all finished ones that began alike."""
    title = f"{env.name}, {summary['method']}"
    sizes = {key[6:]: value for key, value in summary.items() if key.startswith("bytes_") and key != "bytes_file"}
    layers = {key[9:]: value for key, value in summary.items() if key.startswith("sparsity/")}
    whole, _ = read_network(folder / "formats" / "float32.lpz")
    weights = {name: layer.weight.numel() for name, layer in layers_of(whole).items()}
    # Only what began with the same policy, or was trained by the same algorithm, can be compared.
    runs = [run for run in _finished(folder.parent) if run.get("origin") == summary["origin"]]
    made = {
        "bytes": figures.bytes_by_format(sizes, title),
        "sparsity": figures.sparsity_by_layer(layers, weights, title),
        "trade_off": figures.trade_off(runs, env.name),
    }
    for name, figure in made.items():
        plots.save(figure, folder / "figures" / f"{name}.png")
        plots.plt.close(figure)


def _finished(parent: Path) -> list[dict[str, Any]]:
    """Return the summaries below a folder that can be read and tell a return with its interval."""
    found = []
    for path in sorted(parent.glob("*/summary.json")):
        try:
            summary = json.loads(path.read_text())
            values = [float(summary[key]) for key in ("return", "return_low", "return_high", "bytes_file")]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a broken run beside this one is no reason to stop
        if all(map(math.isfinite, values)):
            found.append(summary)
    return found


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
