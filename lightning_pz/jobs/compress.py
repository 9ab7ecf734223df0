"""The job of the compress command: trains or distills, writes the files, measures the policy in them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from lightning_pz.common.errors import UserError
from lightning_pz.common.identity import digest
from lightning_pz.common.known_folders import claim, find
from lightning_pz.common.plotting import save_figure
from lightning_pz.common.progress import ProgressBar
from lightning_pz.common.run_folder import RunFolder
from lightning_pz.common.statistics import UNKNOWN, mean_interval, share
from lightning_pz.common.threads import one_thread
from lightning_pz.common.tracking.settings import Loggers
from lightning_pz.compression import figures
from lightning_pz.compression.compressor import Compressed
from lightning_pz.compression.environments import World, find_world, play_world
from lightning_pz.compression.formats.exports import ONNX_FILES, write_exports, written_exports
from lightning_pz.compression.formats.network_file import read_network, rounded_formats, write_formats
from lightning_pz.compression.formats.stages import check_linear
from lightning_pz.compression.measures import BEHAVIOR_EPISODES, compare_behavior, latencies, paper_ratio, sparsity
from lightning_pz.compression.methods.stack import layers_of
from lightning_pz.compression.modules import to_plan
from lightning_pz.compression.open_policy import open_policy
from lightning_pz.compression.run_identity import compression_identity
from lightning_pz.compression.seeds import RETURN_SEEDS
from lightning_pz.compression.settings import RESUME, CompressSettings, RunSettings
from lightning_pz.compression.training.distill import Log, distill
from lightning_pz.envs.presets import EnvConfig
from lightning_pz.jobs.compress_words import show_compression, show_compressions
from lightning_pz.jobs.spread_runs import spread_runs


@dataclass(frozen=True)
class CompressJob:
    """One run: everything a worker must know."""

    env: EnvConfig
    settings: CompressSettings
    logs: str
    progress: bool | None
    formats: tuple[str, ...]  # of `lightning_pz.compression.settings.FILE_FORMATS`
    loggers: Loggers = Loggers()  # noqa: RUF009  frozen

    @property
    def world(self) -> World:
        """The environment."""
        return find_world(self.env.id, self.env.horizon, self.env.kwargs)

    def original(self, world: World) -> nn.Sequential | None:
        """Open the policy that is compressed, or measured against; None if there is none."""
        path = self.settings.policy or self.settings.reference
        return None if path is None else open_policy(path, world, self.settings.normalization, self.settings.latent)

    def folder(self, world: World, *, claims: bool = True) -> RunFolder:
        """Return the folder of the run, and mark a new one as taken if it `claims` it."""
        settings, own = self.settings, compression_identity(world, self.settings)
        what = "distill" if settings.policy else settings.algorithm
        level = f"-{settings.sparsity:g}" if settings.has("prune") else ""
        name = f"{what}-{settings.ordered_method.replace('+', '-')}{level}-seed{settings.seed}"
        parents = [Path(self.logs) / "compress" / self.env.name]
        return RunFolder((claim if claims else find)(parents, name, own), own, self.loggers)


def compress(env: EnvConfig, settings: CompressSettings, run: RunSettings) -> list[Path]:
    """Do runs, unless they are finished already; print the closing table; return their folders, by seed.

    Raises `UserError` if settings, files and environment do not fit together.
    """
    is_alone = run.seeds == 1 and run.on == "local"  # else one bar for all: several at once would overwrite each other
    every = range(settings.seed, settings.seed + run.seeds)
    progress = run.progress if is_alone else False
    jobs = [
        CompressJob(env, replace(settings, seed=seed), run.logs, progress, run.formats, run.loggers) for seed in every
    ]
    world = jobs[0].world
    # Both before anything is written.
    original = jobs[0].original(world)
    if "c" in run.formats:
        _check_c(world, original if settings.policy else None)
    finished = [job for job in jobs if job.folder(world, claims=False).summary is not None]
    folders = [compress_once(job) for job in finished]
    todo = [job for job in jobs if job not in finished]
    steps = settings.total_steps()
    with ProgressBar(total=run.seeds * steps, unit="step", progress=False if is_alone else run.progress) as bar:
        bar.update(before := len(finished) * steps)
        draw = None if bar.disable else lambda steps: bar.update(before + steps - bar.n)
        place = lambda job: job.folder(world).path  # noqa: E731
        spread_runs(compress_once, todo, run.engine, Path(run.logs), place=place, keep=folders.append, draw=draw)
    found = [(json.loads((folder / "summary.json").read_text()), folder) for folder in folders]
    found.sort(key=lambda one: one[0]["seed"])
    if run.seeds == 1:
        show_compression(*found[0], run.loggers)
    else:
        show_compressions([summary for summary, _ in found], found[0][1].parent, run.loggers)
    return [folder for _, folder in found]


def compress_once(
    job: CompressJob,
    on_steps: Callable[[int], None] = lambda steps: None,
    on_locked: Callable[[], None] | None = None,
) -> Path:
    """Do one run, unless it is finished already, and return its folder.

    With `on_locked`, which is called every second, it waits for another process that is at the same run.
    """
    world = job.world
    original, settings = job.original(world), job.settings
    config = {"env": dataclasses.asdict(job.env), **dataclasses.asdict(settings), "logs": job.logs}
    folder = job.folder(world)
    with folder.lock(on_locked), one_thread():
        if folder.summary is None:
            folder.begin(config)
            try:
                summary = _run(world, original, job, folder, on_steps)
            except UserError:
                if not (folder.path / RESUME).exists():
                    folder.discard_if_empty()
                raise
            folder.write_summary(summary)
            shutil.rmtree(folder.path / RESUME, ignore_errors=True)
        assert folder.summary is not None
        left = {*job.formats} - written_exports(folder.summary, folder.path)
        if more := write_exports(folder.path, left, world.shape, choices=world.discrete):
            folder.write_summary(folder.summary | more)
        # After the summary, so that no figure can cost a training; the last figure shows that all are there.
        if not (folder.path / "figures" / "trade_off.png").is_file():
            _draw(job.env, folder.summary, folder.path)
    on_steps(settings.total_steps())
    return folder.path


def _run(
    world: World, original: nn.Sequential | None, job: CompressJob, run: RunFolder, on_steps: Callable[[int], None]
) -> dict[str, Any]:
    settings, folder, begin = job.settings, run.path, time.process_time()
    done = _compressed(world, original, settings, run, job.progress, on_steps)
    seconds = done.earlier_seconds + time.process_time() - begin
    # A reference may have other layers than what is trained here: it measures returns, not bytes.
    dense = done.whole if original is None or settings.policy is None else original
    own = f"sparse_int{settings.bits}" if settings.bits else "sparse"
    meta = {"env": world.id, "method": settings.ordered_method}
    sizes = write_formats(dense, done.final, own, folder, meta, per_channel=settings.per_channel)
    # A header, which may be refused, comes when the summary is safe.
    onnx_sizes = write_exports(folder, {*job.formats} - {"c"}, world.shape, choices=world.discrete)
    onnx_files = {name: folder / file for name, file in ONNX_FILES.items() if f"bytes_{name}" in onnx_sizes}
    scalars, known = done.compressor.scalars(), run.identity.content
    summary: dict[str, Any] = {
        "env": world.id,
        "algorithm": None if settings.policy else settings.algorithm,
        "policy": settings.policy,
        "normalization": settings.normalization,
        "origin": _origin(known),
        "method": settings.ordered_method,
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
        "formats_rounded_afterwards": rounded_formats(own),  # what the policy does in them is not measured
        **onnx_sizes,
        "paper_ratio": paper_ratio(dense, done.final, settings.bits or 32),
    }
    summary["file_ratio"] = summary["bytes_float32"] / summary["bytes_file"]
    # From the file, as a fresh process reads it: the policy measured is the policy delivered.
    deployed, _ = read_network(folder / "policy.lpz")
    ways = {"torch": deployed, "torch_dense": dense}
    summary |= {f"latency_us_{name}": value for name, value in latencies(ways, onnx_files, world.shape).items()}
    return summary | _measure(deployed, original, world, settings)


def _origin(known: Mapping[str, Any]) -> str:
    """Return a digest that is equal for runs that one figure compares, of their identities.

    They compress one policy, or train as one does: in one environment, by the same algorithm, arguments and steps, those of int8
    or int4 apart, and measured against the same reference.
    """
    settings = known["settings"]
    if settings.get("policy") is not None:
        return digest([known["world"], {key: settings.get(key) for key in ("policy", "latent", "normalization")}])[:16]
    alike = {key: settings.get(key) for key in ("algorithm", "steps", "model", "reference", "normalization")}
    return digest([known["world"], alike, known["sources"]])[:16]


def _check_c(world: World, original: nn.Sequential | None) -> None:
    """Raise `UserError` for a network that no C header can hold: here of the original, or of those that see images."""
    if original is not None:
        check_linear(to_plan(original)[0])
    elif world.is_image:
        check_linear([{"kind": "conv"}])


def _compressed(
    world: World,
    original: nn.Sequential | None,
    settings: CompressSettings,
    run: RunFolder,
    progress: bool | None,
    on_steps: Callable[[int], None],
) -> Compressed:
    with contextlib.ExitStack() as stack:

        def begin_log(steps: int) -> Log:
            return stack.enter_context(run.tracker(purge_step=steps + 1)).log

        if settings.policy is not None:
            assert original is not None
            return distill(original, world, settings, begin_log(0), progress=progress, on_steps=on_steps)
        from lightning_pz.compression.training.sb3_run import train_sb3

        done = train_sb3(world, settings, run.path, progress=progress, on_steps=on_steps, begin_log=begin_log)
    assert done is not None
    done.model.save(run.path / "model.zip")
    return done


def _measure(
    deployed: nn.Sequential, original: nn.Sequential | None, world: World, settings: CompressSettings
) -> dict[str, Any]:
    """Return the results of fresh episodes: returns, and the difference in behavior to the original, if there is one."""
    seeds = range(RETURN_SEEDS, RETURN_SEEDS + settings.episodes)
    returns = play_world(deployed, world, seeds).returns
    values: dict[str, Any] = mean_interval(returns).keys("return") | {"episodes": settings.episodes}
    if original is None:
        return values | {"return_dense": None, "behavior_fvu": None}
    dense = play_world(original, world, seeds).returns
    states = play_world(original, world, seeds[:BEHAVIOR_EPISODES], keep=True).observations
    values |= mean_interval(dense).keys("return_dense") | mean_interval(returns - dense).keys("return_difference")
    values |= (share(returns, dense) or UNKNOWN).keys("return_kept")
    behavior = compare_behavior(deployed, original, states, discrete=world.discrete)
    return values | {f"behavior_{key}": value for key, value in behavior.items()}


def _draw(env: EnvConfig, summary: dict[str, Any], folder: Path) -> None:
    """Draw the figures, the last one over this run and all finished ones of the same origin, which can be compared."""
    title = f"{env.name}, {figures.method_label(summary['method'])}"
    sizes = {key[6:]: value for key, value in summary.items() if key.startswith("bytes_") and key != "bytes_file"}
    layers = {key[9:]: value for key, value in summary.items() if key.startswith("sparsity/")}
    whole, _ = read_network(folder / "formats" / "float32.lpz")
    weights = {name: layer.weight.numel() for name, layer in layers_of(whole).items()}
    runs = [run for run in _finished_runs(folder.parent) if run.get("origin") == summary["origin"]]
    rounded = rounded_formats(summary["format"])
    save_figure(figures.bytes_by_format(sizes, title, rounded), folder / "figures" / "bytes")
    save_figure(figures.sparsity_by_layer(layers, weights, title), folder / "figures" / "sparsity")
    save_figure(figures.trade_off(runs, env.name), folder / "figures" / "trade_off")


def _finished_runs(parent: Path) -> Iterator[dict[str, Any]]:
    """Yield the summaries below a folder that can be read and hold a return with its interval."""
    for path in sorted(parent.glob("*/summary.json")):
        # A broken run beside this one is no reason to stop.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            summary = json.loads(path.read_text())
            if all(math.isfinite(summary[key]) for key in ("return", "return_low", "return_high", "bytes_file")):
                yield summary
