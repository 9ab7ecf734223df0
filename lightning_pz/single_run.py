"""One run of a search, from a checkpoint to a run folder."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_pz.autoencoder.module import BehaviorAutoencoder, load_autoencoder
from lightning_pz.checks import is_installed
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import find_task
from lightning_pz.errors import UserError
from lightning_pz.evaluation.play import find_pool
from lightning_pz.jobs import env_name, slug
from lightning_pz.policy import Prior, prior_scale, restandardize
from lightning_pz.policy.onnx_file import write_onnx
from lightning_pz.policy.saved import load_policy
from lightning_pz.pool.best import best_of_pool
from lightning_pz.pool.states import StateCounts
from lightning_pz.pool.store import Pool
from lightning_pz.search.algorithms import make_search
from lightning_pz.search.anchor import anchor
from lightning_pz.search.loop import search_until_done, summarize
from lightning_pz.search.objective import Objective, Problem
from lightning_pz.search.protocol import Search
from lightning_pz.search.run_folder import RunFolder, digest
from lightning_pz.search.settings import STARTS, SearchSettings
from lightning_pz.search.spaces import latent_space, parameter_space
from lightning_pz.search.step_scale import with_behavior_step
from lightning_pz.threads import one_thread


@dataclass(frozen=True)
class Job:
    """One run: everything a worker process must know.

    Attributes:
        number: Place among the command's runs.
        checkpoint: The autoencoder.
        checkpoint_digest: SHA-256 of that file.
        settings: Of the search.
        logs: Folder for runs.
        threads: Threads that step physics.
        pool: Where the checkpoint's pool lies, if it was moved.
    """

    number: int
    checkpoint: str
    checkpoint_digest: str
    settings: SearchSettings
    logs: str
    threads: int
    pool: str | None = None


@dataclass(frozen=True)
class Result:
    """What became of a run.

    Attributes:
        folder: Its folder.
        summary: Its summary; None if it was interrupted.
        found: Whether it was finished before.
    """

    folder: Path
    summary: dict[str, Any] | None
    found: bool = False


def build(
    model: BehaviorAutoencoder, settings: SearchSettings, threads: int, pool: str | None = None
) -> tuple[Objective, Search]:
    """Return the objective and the search of one run.

    Raises:
        UserError: The search is to begin at a policy that is missing, unknown, or of another network.
    """
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    spec = EnvSpec.from_dict(model.env)
    objective = Objective(Problem(model.policy, spec, settings.task, find_task(spec.id, settings.task)), threads)
    latents = latent_space(model.decoder, model.latents(settings.latents), model.encode)
    weights = parameter_space(Prior(**model.hparams["description"]["prior"]), model.layout)
    settings = with_behavior_step(settings, model.layout, model.policy.standardize(model.probe_states), latents)
    if settings.start == "draws":
        return objective, make_search(settings, objective, latents, weights)
    # Once, for opening reads it all to see that nobody altered it.
    opened = find_pool(model, pool) if settings.start in STARTS or settings.anchors else None
    given, visited = _given_policies(model, settings, opened)
    around = _anchor(model, opened, visited) if settings.anchors and opened is not None else None
    return objective, make_search(settings, objective, latents, weights, given, around)


def _given_policies(model: BehaviorAutoencoder, settings: SearchSettings, opened: Pool | None) -> tuple[Tensor, Tensor]:
    """Return the weights of the policies to begin at, (n, P), the best first, and states that they visited, (V, O)."""
    if settings.start in STARTS:
        assert opened is not None
        rows = best_of_pool(opened, settings.task, 1 if settings.start == "pool_best" else settings.starts)
        return opened.params(rows), torch.from_numpy(opened.arrays["visited"][rows]).flatten(0, 1)
    path = Path(settings.start)
    saved = load_policy(path if path.suffix == ".npz" else path / f"{slug(settings.task)}.npz")
    network = model.policy
    boxes = all(torch.equal(getattr(saved, end), getattr(network, end)) for end in ("action_low", "action_high"))
    if saved.layout != model.layout or saved.squash != "tanh" or not boxes:
        raise UserError(
            f"--start {settings.start} is a policy of the layout {saved.layout.to_dict()} (last layer: {saved.squash}), but the "
            f"decoder makes {model.layout.to_dict()} (last layer: tanh) for one action box: give a policy of such a kind, "
            "as logs/evaluate/.../best_in_pool/<task>.npz"
        )
    params = restandardize(saved.params[None], saved.network(), network)
    return params, torch.empty(0, model.layout.observation_size)


def _anchor(model: BehaviorAutoencoder, opened: Pool, visited: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what moves decoded policies to the given ones, on training states of the pool and states they visited."""
    span = StateCounts(**opened.meta["states"]).slices()["train"]
    states, visited = (
        model.policy.standardize(s) for s in (torch.from_numpy(opened.arrays["states"][span].copy()), visited)
    )
    scale = prior_scale(Prior(**model.hparams["description"]["prior"]), model.layout)
    return lambda decoded, params: anchor(model.layout, decoded, params, states, visited, scale)


def run(job: Job, on_steps: Callable[[int], None] = lambda steps: None) -> Result:
    """Do one run, unless it was done before.

    Raises:
        KeyboardInterrupt: As it came; the state is saved.
    """
    settings = job.settings
    model = load_autoencoder(job.checkpoint)
    folder = find_folder(job, model)
    with folder.lock(), one_thread():
        if (summary := folder.summary) is not None:
            on_steps(settings.budget)
            return Result(folder.path, summary, found=True)
        folder.begin(_config(job))
        objective, search = build(model, settings, job.threads, job.pool)
        progress = search_until_done(search, objective, settings, folder, on_steps)
        assert progress.best is not None
        progress.best.save(folder.path / "policy.npz")
        if is_installed("onnx"):
            write_onnx(progress.best, folder.path / "policy.onnx")
        summary = {
            "env": model.env["id"],
            "policy": model.hparams["description"]["policy"],
            "algorithm": settings.algorithm,
            "task": settings.task,
            "latent_dim": model.hparams["latent_dim"],
            "seed": settings.seed,
            "budget": settings.budget,
            **summarize(progress, objective, settings),
            "checkpoint": job.checkpoint,
        }
        folder.finish(summary)
    on_steps(settings.budget)
    return Result(folder.path, summary)


def find_folder(job: Job, model: BehaviorAutoencoder) -> RunFolder:
    """Return the folder of a run, finished, unfinished or new."""
    settings = job.settings
    tag = checkpoint_tag(job.checkpoint, job.checkpoint_digest, model)
    identity = digest(settings.identity() | {"checkpoint": job.checkpoint_digest})
    parent = Path(job.logs) / "finetune" / env_name(model.env["id"]) / slug(settings.task)
    return RunFolder.find(parent, f"{settings.algorithm}-{tag}{_variant(settings)}-seed{settings.seed}", identity)


def checkpoint_tag(path: str, fingerprint: str, model: BehaviorAutoencoder) -> str:
    """Name a checkpoint in a few letters: size of its policies, latent size, and seed of its training."""
    found = re.search(r"-seed(\d+)", Path(path).resolve().parent.parent.name)
    last = f"seed{found.group(1)}" if found else fingerprint[:8]
    return f"{slug(model.hparams['description']['policy'])}-k{model.hparams['latent_dim']}-{last}"


def _variant(settings: SearchSettings) -> str:
    """Name what a search does otherwise than usual, so that `report` keeps such runs apart."""
    start = "" if settings.start == "draws" else f"-{slug(Path(settings.start).stem)}"
    if settings.start not in STARTS:
        start = f"-from{start}"
    if settings.encodes_start and not settings.anchor:
        start += "-unanchored"
    if settings.widen is not None:
        start += f"-widen{settings.widen:g}"
    at = settings.release_decoder_at
    return start + (f"-release{at}" if settings.algorithm == "pgpe" and at is not None else "")


def _config(job: Job) -> dict[str, Any]:
    """Return settings from which the command makes this very run."""
    own = {"checkpoint": job.checkpoint, "seeds": 1, "logs": job.logs, "pool": job.pool}
    return own | dataclasses.asdict(job.settings)
