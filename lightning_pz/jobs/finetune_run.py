"""One run of a search, from a checkpoint to a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.checks import is_installed
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import file_digest, safe_name, slug
from lightning_pz.common.identity import digest, first_difference
from lightning_pz.common.known_folders import Identity, claim
from lightning_pz.common.run_folder import RunFolder
from lightning_pz.common.threads import one_thread
from lightning_pz.common.tracking.settings import Loggers
from lightning_pz.envs.episode_identity import environment_identity, is_as_it_was, task_sources, versions
from lightning_pz.envs.presets import env_name
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import find_task
from lightning_pz.evaluation.groups import find_pool
from lightning_pz.policy import Prior, prior_scale
from lightning_pz.policy.policy_onnx import write_policy_onnx
from lightning_pz.policy.saved import load_policy
from lightning_pz.pool.states import StateCounts
from lightning_pz.replay.ranking import ranking_settings
from lightning_pz.replay.steady import steady_settings
from lightning_pz.search.algorithms import make_search
from lightning_pz.search.generation import Search
from lightning_pz.search.loop import search_until_done, summarize
from lightning_pz.search.objective import Objective, Problem
from lightning_pz.search.off_policy.old_data import old_data
from lightning_pz.search.rivals.zoo import ZooEntry, zoo_entry
from lightning_pz.search.settings import PACKAGES, POOL_STARTS, STARTS, SearchSettings
from lightning_pz.search.spaces import latent_space, parameter_space
from lightning_pz.search.starts import anchoring_shift, behavior_sigma, given_policies, start_file


@dataclass(frozen=True)
class SearchJob:
    """One run: everything a worker must know."""

    checkpoint: str
    checkpoint_digest: str  # SHA-256 of that file
    settings: SearchSettings
    logs: str
    threads: int  # Threads that step physics
    pool: str | None = None  # Where the checkpoint's pool lies, if it was moved
    policy: str | None = None  # Size to decode to, of a checkpoint of several; that of the first pool if None
    loggers: Loggers = Loggers()  # noqa: RUF009  frozen
    known: Identity | None = None  # What decides its result, as the command found it; found anew if None


@dataclass(frozen=True)
class SearchResult:
    """Result of a run."""

    folder: Path
    summary: dict[str, Any]
    found: bool = False  # Whether it was finished before


def build_search(
    model: BehaviorAutoencoder, settings: SearchSettings, threads: int, pool: str | None = None, logs: str = "logs"
) -> tuple[Objective, Search]:
    """Return objective and search of one run, or raise `UserError` if the policy to begin at is missing or unlike.

    Rankings of the pool on tasks that it does not know are kept in `<logs>/rankings`.
    """
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    spec, layout, network = EnvSpec.from_dict(model.env), model.layout, model.policy
    objective = Objective(Problem(network, spec, settings.task, find_task(spec.id, settings.task)), threads)
    prior = Prior(**model.hparams["description"]["prior"])
    latents = latent_space(model.decoder, model.latents(settings.latents), model.encode)
    weights = parameter_space(prior, layout)
    sigma = behavior_sigma(settings, layout, network.standardize(model.probe_states), latents)
    # Once: opening a pool reads all of it, to compare its digests.
    opened = find_pool(model, pool) if settings.reads_pool else None
    rankings, old = Path(logs) / "rankings", None
    if settings.reads_old_data and opened is not None:
        old = old_data(opened, settings, objective.problem.reward, rankings, threads)
    if settings.start == "draws":
        return objective, make_search(settings, objective, latents, weights, latent_sigma=sigma, old=old)
    given, visited = given_policies(network, settings, opened, rankings, threads)
    anchor = None
    if settings.anchors and opened is not None:
        span = StateCounts(**opened.meta["states"]).slices()["train"]
        states = network.standardize(torch.from_numpy(opened.arrays["states"][span].copy()))
        around = {"states": states, "visited": network.standardize(visited), "scale": prior_scale(prior, layout)}
        anchor = partial(anchoring_shift, layout, **around)
    return objective, make_search(settings, objective, latents, weights, given, anchor, sigma, old)


def run_search(
    job: SearchJob,
    on_work: Callable[[int], None] = lambda work: None,
    on_locked: Callable[[], None] | None = None,
) -> SearchResult:
    """Do one run, unless it is finished already; `KeyboardInterrupt` comes after the state is saved.

    With `on_locked`, which is called every second, it waits for another process that is at the same run. Raises `UserError`
    if the checkpoint, or what else decides the result, is no longer what the command found.
    """
    model = load_autoencoder(job.checkpoint, job.policy)
    _check_unchanged(job, identity_of(job, model))
    parents, name, identity = place_of(job, model)
    folder = RunFolder(claim(parents, name, identity), identity, job.loggers)
    try:
        with folder.lock(on_locked), one_thread():
            if found := folder.summary is not None:
                summary = folder.summary
            else:
                summary = _search(job, model, folder, on_work)
                folder.write_summary(summary)
    except UserError:
        with contextlib.suppress(UserError), folder.lock():  # another process may work there
            folder.discard_if_empty()
        raise
    on_work(job.settings.work(EnvSpec.from_dict(model.env).horizon))
    return SearchResult(folder.path, summary, found)


def _check_unchanged(job: SearchJob, identity: Identity) -> None:
    """Raise `UserError` where a run would not be the one of its name: it begins minutes, or a queue, after its command."""
    if file_digest(Path(job.checkpoint)) != job.checkpoint_digest:
        raise UserError(
            f"{job.checkpoint} was replaced since the command began, as by a fit that still trains: wait for its end, or copy "
            "the file, and run the command again"
        )
    known = identity if job.known is None else job.known
    if (difference := first_difference(known.content, identity.content)) is not None:
        raise UserError(
            f"what decides the search of {job.settings.task} with seed {job.settings.seed} was edited since the command began "
            f"({difference}): run the command again"
        )


def _search(
    job: SearchJob, model: BehaviorAutoencoder, folder: RunFolder, on_work: Callable[[int], None]
) -> dict[str, Any]:
    """Search, write the policy, and return the summary."""
    settings = job.settings
    # Settings from which the command makes this very run.
    own: dict[str, Any] = {"checkpoint": job.checkpoint, "seeds": 1, "logs": job.logs, "pool": job.pool}
    own |= {} if job.policy is None else {"policy": job.policy}
    entry = _entry(settings, model.env["id"])
    note = f"hyperparameters: RL Zoo {entry.version}, the entry {entry.name} of {settings.algorithm}" if entry else ""
    folder.begin(own | dataclasses.asdict(settings), note)
    objective, search = build_search(model, settings, job.threads, job.pool, job.logs)
    progress = search_until_done(search, objective, settings, folder, on_work)
    assert progress.best is not None
    progress.best.save(folder.path / "policy.npz")
    if is_installed("onnx"):
        write_policy_onnx(progress.best, folder.path / "policy.onnx")
    made = {"set": settings.hyperparameters, "entry": entry and entry.name, "version": entry and entry.version}
    return {
        "env": model.env["id"],
        **({"hyperparameters": made} if settings.is_rival else {}),
        "policy": model.hparams["description"]["policy"],
        "algorithm": settings.algorithm,
        "task": settings.task,
        "latent_dim": model.hparams["latent_dim"],
        "seed": settings.seed,
        "budget": settings.budget,
        **summarize(progress, objective, settings),
        "checkpoint": job.checkpoint,
    }


def _entry(settings: SearchSettings, env_id: str) -> ZooEntry | None:
    """Return the entry of RL Zoo that a run uses, if it uses one."""
    return zoo_entry(settings.algorithm, env_id) if settings.hyperparameters == "zoo" else None


def place_of(job: SearchJob, model: BehaviorAutoencoder) -> tuple[list[Path], str, Identity]:
    """Return where to look for a run, the name of its folder, and what decides its result; see `known_folders`."""
    settings, env_id = job.settings, model.env["id"]
    tag = checkpoint_tag(job.checkpoint, job.checkpoint_digest, model)
    if settings.is_rival:
        tag = "zoo" if settings.hyperparameters == "zoo" else safe_name(model.hparams["description"]["policy"])
    name = f"{settings.algorithm}-{tag}{_variant(settings)}-seed{settings.seed}"
    root = Path(job.logs) / "finetune"
    # The second is where earlier versions put it.
    parents = [root / env_name(env_id) / safe_name(settings.task), root / slug(env_id) / slug(settings.task)]
    return list(dict.fromkeys(parents)), name, job.known or identity_of(job, model)


def identity_of(job: SearchJob, model: BehaviorAutoencoder) -> Identity:
    """Return everything that decides a run's result, by its content, or raise `UserError` where some is gone."""
    settings, env_id = job.settings, model.env["id"]
    env = environment_identity(model.env, job.checkpoint)
    source = task_sources(env_id, [settings.task])[settings.task]
    own, start = settings.identity(), None
    if settings.start not in STARTS:
        start = load_policy(start_file(settings)).digest()
        own["start"] = "file"
    has_pool = model.hparams["description"].get("pool") is not None
    content: dict[str, Any] = {
        "checkpoint": job.checkpoint_digest, "env": env, "settings": own, "start": start, "task_source": source,
        "pool": model.hparams["description"]["pool"]["digest"] if settings.reads_pool and has_pool else None,
        "versions": versions(env_id, *PACKAGES.get(settings.algorithm, [])[:1]),
    }  # fmt: skip
    if (size := model.hparams["description"]["policy"]) != model.sizes[0].name and not settings.is_rival:
        content["policy"] = size
    is_ranked = settings.start in POOL_STARTS or settings.reads_old_data
    if is_ranked and ":" in settings.task:
        # No pool knows a task of the user's own.
        content["ranking"] = ranking_settings()
    if settings.start == "pool_steady":
        content["steady"] = steady_settings()
    if settings.space is not None:
        content["versions"] |= versions(env_id, "stable_baselines3")
    if is_rival := settings.is_rival:
        entry = _entry(settings, env_id)
        # Each episode has a seed of its own; in earlier versions the first one had, and began the next.
        content |= {"entry": entry and {"name": entry.name, "settings": entry.settings}, "episodes": "seeded"}
        content["versions"] |= versions(env_id, "stable_baselines3")
        # Of the checkpoint it takes the widths of the policies at most.
        content["checkpoint"] = None
        content |= {} if entry else {"layout": model.layout.to_dict()}
    # Earlier versions kept less, and carried sigma over from latents into weights.
    carried = settings.behavior_step is not None and (settings.widen, settings.release_decoder_at) != (None, None)
    is_same = not (source or start or carried or is_rival) and is_as_it_was(model.env, env)
    earlier = digest(settings.identity() | {"checkpoint": job.checkpoint_digest})[:16]
    return Identity(content, (earlier,) if is_same else ())


def checkpoint_tag(path: str, fingerprint: str, model: BehaviorAutoencoder) -> str:
    """Return a short name of a checkpoint: size of its policies, latent size, and seed of its training."""
    found = re.search(r"-seed(\d+)", Path(path).resolve().parent.parent.name)
    last = f"seed{found.group(1)}" if found else fingerprint[:8]
    return f"{safe_name(model.hparams['description']['policy'])}-k{model.hparams['latent_dim']}-{last}"


def _variant(settings: SearchSettings) -> str:
    """Return a name for what differs from the usual search, so that `report` keeps such runs apart."""
    start = "" if settings.start == "draws" else f"-{settings.start}"
    space = "" if settings.space is None else f"-{settings.space}-replay{settings.replay:g}"
    if settings.start not in STARTS:
        # Of the policy, or of all policies of the folder: the same for every task.
        path = Path(settings.start)
        each = [] if path.suffix == ".npz" else [[file.name, file_digest(file)] for file in sorted(path.glob("*.npz"))]
        content = load_policy(path).digest() if path.suffix == ".npz" else digest(each)
        start = f"-from-{slug(path.stem)}-{content[:8]}"
    if settings.encodes_start and not settings.anchor:
        start += "-unanchored"
    if settings.widen is not None:
        start += f"-widen{settings.widen:g}"
    at = settings.release_decoder_at
    return space + start + (f"-release{at}" if settings.algorithm == "pgpe" and at is not None else "")
