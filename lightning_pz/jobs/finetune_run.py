"""One run of a search, from a checkpoint to a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.checks import is_installed
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import file_digest, safe_name, slug
from lightning_pz.common.identity import digest
from lightning_pz.common.known_folders import Identity
from lightning_pz.common.threads import one_thread
from lightning_pz.envs.identity import environment_now, is_as_it_was, task_sources, versions
from lightning_pz.envs.presets import env_name
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import find_task
from lightning_pz.evaluation.groups import find_pool
from lightning_pz.policy import Prior, prior_scale, restandardize
from lightning_pz.policy.onnx_file import write_onnx
from lightning_pz.policy.saved import SavedPolicy, load_policy, policy_file
from lightning_pz.pool.best import best_of_pool
from lightning_pz.pool.states import StateCounts
from lightning_pz.pool.store import Pool
from lightning_pz.search.algorithms import make_search
from lightning_pz.search.anchor import anchor
from lightning_pz.search.extras import NEEDED
from lightning_pz.search.loop import search_until_done, summarize
from lightning_pz.search.objective import Objective, Problem
from lightning_pz.search.optimizers.protocol import Search
from lightning_pz.search.run_folder import RunFolder
from lightning_pz.search.settings import STARTS, SearchSettings
from lightning_pz.search.spaces import latent_space, parameter_space
from lightning_pz.search.step_scale import behavior_sigma


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
    sigma = behavior_sigma(settings, model.layout, model.policy.standardize(model.probe_states), latents)
    if settings.start == "draws":
        return objective, make_search(settings, objective, latents, weights, latent_sigma=sigma)
    # Once, for opening reads it all to see that nobody altered it.
    opened = find_pool(model, pool) if settings.start in STARTS or settings.anchors else None
    given, visited = _given_policies(model, settings, opened)
    around = _anchor(model, opened, visited) if settings.anchors and opened is not None else None
    return objective, make_search(settings, objective, latents, weights, given, around, sigma)


def _given_policies(model: BehaviorAutoencoder, settings: SearchSettings, opened: Pool | None) -> tuple[Tensor, Tensor]:
    """Return the weights of the policies to begin at, (n, P), the best first, and states that they visited, (V, O)."""
    if settings.start in STARTS:
        assert opened is not None
        rows = best_of_pool(opened, settings.task, 1 if settings.start == "pool_best" else settings.starts)
        return opened.params(rows), torch.from_numpy(opened.arrays["visited"][rows]).flatten(0, 1)
    saved, network = load_policy(_start_file(settings)), model.policy
    boxes = all(torch.equal(getattr(saved, end), getattr(network, end)) for end in ("action_low", "action_high"))
    if saved.layout != model.layout or saved.squash != "tanh" or not boxes:
        raise UserError(
            f"--start {settings.start} is a policy of the layout {saved.layout.to_dict()} (last layer: {saved.squash}), but the "
            f"decoder makes {model.layout.to_dict()} (last layer: tanh) for one action box: give a policy of such a kind, "
            "as logs/evaluate/.../best_in_pool/<task>.npz"
        )
    params = restandardize(saved.params[None], saved.network(), network)
    return params, torch.empty(0, model.layout.observation_size)


def _start_file(settings: SearchSettings) -> Path:
    """Return the file that `--start` means for the task."""
    path = Path(settings.start)
    return path if path.suffix == ".npz" else path / policy_file(settings.task)


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
        UserError: Something does not fit together, or the search came to nothing.
        KeyboardInterrupt: As it came; the state is saved.
    """
    model = load_autoencoder(job.checkpoint)
    folder = RunFolder.claim(*_place(job, model))
    try:
        return _run(job, model, folder, on_steps)
    except UserError:
        with contextlib.suppress(UserError), folder.lock():  # another process may be at work there
            folder.discard_if_empty()
        raise


def _run(job: Job, model: BehaviorAutoencoder, folder: RunFolder, on_steps: Callable[[int], None]) -> Result:
    settings = job.settings
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
    return RunFolder.find(*_place(job, model))


def _place(job: Job, model: BehaviorAutoencoder) -> tuple[list[Path], str, Identity]:
    """Return where to look for a run, what to call its folder, and what decides its result."""
    settings, env_id = job.settings, model.env["id"]
    tag = checkpoint_tag(job.checkpoint, job.checkpoint_digest, model)
    name = f"{settings.algorithm}-{tag}{_variant(settings)}-seed{settings.seed}"
    root = Path(job.logs) / "finetune"
    # Where earlier versions put it.
    parents = [root / env_name(env_id) / safe_name(settings.task), root / slug(env_id) / slug(settings.task)]
    return list(dict.fromkeys(parents)), name, identity_of(job, model)


def identity_of(job: Job, model: BehaviorAutoencoder) -> Identity:
    """Return everything that decides a run's result, by its content.

    Raises:
        UserError: The environment is not what it was, or there is no such task or start.
    """
    settings = job.settings
    env = environment_now(model.env, job.checkpoint)
    source = task_sources(env["id"], [settings.task])[settings.task]
    own, start = settings.identity(), None
    if settings.start not in STARTS:
        start = _content_of(load_policy(_start_file(settings)))
        own["start"] = "file"
    content = {
        "checkpoint": job.checkpoint_digest, "env": env, "settings": own, "start": start, "task_source": source,
        "pool": _pool_digest(model, settings), "versions": versions(*NEEDED.get(settings.algorithm, [])[:1]),
    }  # fmt: skip
    # What earlier versions did not keep, or did otherwise: sigma was carried over from latents into weights.
    carried = settings.behavior_step is not None and (settings.widen, settings.release_decoder_at) != (None, None)
    told = not source and start is None and not carried and is_as_it_was(model.env, env)
    earlier = digest(settings.identity() | {"checkpoint": job.checkpoint_digest})[:16]
    return Identity(content, (earlier,) if told else ())


def _content_of(policy: SavedPolicy) -> str:
    """Return a digest of a policy that does not depend on how its file was packed."""
    arrays = [getattr(policy, field.name) for field in dataclasses.fields(policy)]
    tensors = [hashlib.sha256(a.numpy().tobytes()).hexdigest() for a in arrays if isinstance(a, Tensor)]
    return digest([policy.layout.to_dict(), policy.squash, tensors])[:16]


def _pool_digest(model: BehaviorAutoencoder, settings: SearchSettings) -> str | None:
    """Return the digest of the pool that a search reads, as the checkpoint knows it; None if it reads none."""
    reads = settings.anchors or settings.start in ("pool_best", "pool_top")
    return model.hparams["description"].get("pool", {}).get("digest") if reads else None


def checkpoint_tag(path: str, fingerprint: str, model: BehaviorAutoencoder) -> str:
    """Name a checkpoint in a few letters: size of its policies, latent size, and seed of its training."""
    found = re.search(r"-seed(\d+)", Path(path).resolve().parent.parent.name)
    last = f"seed{found.group(1)}" if found else fingerprint[:8]
    return f"{safe_name(model.hparams['description']['policy'])}-k{model.hparams['latent_dim']}-{last}"


def _variant(settings: SearchSettings) -> str:
    """Name what a search does otherwise than usual, so that `report` keeps such runs apart."""
    start = "" if settings.start == "draws" else f"-{settings.start}"
    if settings.start not in STARTS:
        start = f"-from-{slug(Path(settings.start).stem)}-{_start_digest(settings)[:8]}"
    if settings.encodes_start and not settings.anchor:
        start += "-unanchored"
    if settings.widen is not None:
        start += f"-widen{settings.widen:g}"
    at = settings.release_decoder_at
    return start + (f"-release{at}" if settings.algorithm == "pgpe" and at is not None else "")


def _start_digest(settings: SearchSettings) -> str:
    """Return a digest of the policy, or of all policies of the folder, that `--start` names: the same for every task."""
    path = Path(settings.start)
    if path.suffix == ".npz":
        return _content_of(load_policy(path))
    return digest([[file.name, file_digest(file)] for file in sorted(path.glob("*.npz"))])


def _config(job: Job) -> dict[str, Any]:
    """Return settings from which the command makes this very run."""
    own = {"checkpoint": job.checkpoint, "seeds": 1, "logs": job.logs, "pool": job.pool}
    return own | dataclasses.asdict(job.settings)
