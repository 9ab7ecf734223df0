"""The fit job: parse and check, train, measure the best checkpoint, and write the summary."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.autoencoder.losses import fvu
from lightning_pz.autoencoder.module import BehaviorAutoencoder, check_latent_dim
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone, check_writable, replacing, write_json
from lightning_pz.common.held_interrupts import held_interrupts
from lightning_pz.common.identity import first_difference
from lightning_pz.common.tracking.settings import look_command
from lightning_pz.common.tracking.tracker import Tracker
from lightning_pz.growth.loop import check_growth, grow
from lightning_pz.jobs import fit_figures
from lightning_pz.jobs.fit_callbacks import LetInterrupts
from lightning_pz.jobs.fit_cli import FitCLI, forget_run_folder
from lightning_pz.jobs.fit_end import fit_notes, held_out_climbs, lucky_tasks, measure_starts, search_command, show_fit
from lightning_pz.jobs.fit_identity import used_by_model
from lightning_pz.jobs.fit_settings import check_recipe_words, check_weights_unread
from lightning_pz.policy import act_shared
from lightning_pz.pool.batches import Part, climbs_of
from lightning_pz.pool.datamodule import PolicyPoolDataModule
from lightning_pz.pool.entropies import mean_entropies
from lightning_pz.pool.several import check_same_pools
from lightning_pz.probes.linear import affine_fvu, pca_fvu, principal_axes, project

_PCA_POLICIES = 20_000
_PARAMS_FLOATS = 1 << 28  # Weights that PCA on parameters may hold: 1 GiB


@dataclass(frozen=True)
class FitResult:
    """The run folder of a fit and the contents of its summary.json."""

    folder: Path
    summary: dict[str, Any]


def prepare_fit(arguments: list[str], description: str = "") -> FitCLI:
    """Parse expanded arguments and build trainer, model and data; refuse what can be refused before the work."""
    cli = FitCLI(arguments, description)
    data: PolicyPoolDataModule = cli.datamodule
    if not data.given:
        check_recipe_words(arguments, data.recipe)
    if data.recipe == "grown":
        if not data.given:
            check_growth(data.folder, data.spec, data.grown)
        data.make_pool = lambda: grow(data.folder, data.spec, data.layout, data.grown, loggers=cli.loggers)
    check_latent_dim(cli.model.hparams["latent_dim"], data.probe_count * data.layout.feature_size)
    data.check_sizes()
    if data.further or data.decoded:
        check_weights_unread(data.with_params)
    cli.find_run()
    if (path := cli.resume_from) is not None:
        model = load_autoencoder(path)
        ignore = ("description", "_instantiator")
        found, wanted = used_by_model(model.hparams), used_by_model(cli.model.hparams)
        if (told := first_difference(found, wanted, ignore=ignore)) is not None:
            raise UserError(
                f"--ckpt_path {path} holds a model of other settings: model.{told}. Give those settings, or leave "
                "--ckpt_path out to begin a new run"
            )
        kept = torch.load(path, map_location="cpu", weights_only=True)
        if "optimizer_states" not in kept:
            raise UserError(
                f"--ckpt_path {path} holds weights alone (--checkpoint.save_weights_only), from which no training can "
                "resume: leave --ckpt_path out to begin a new run"
            )
        done = kept["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"]
        if 0 < done < data.steps_per_epoch:
            # Batches and dropout are drawn epoch by epoch.
            raise UserError(
                f"--ckpt_path {path} was written {done} steps into an epoch of {data.steps_per_epoch}, where a validation lay "
                "(trainer.val_check_interval), and a run that went on there would not equal a straight one: give a checkpoint of "
                "the end of an epoch, or leave --ckpt_path out to begin a new run"
            )
    return cli


def run_fit(cli: FitCLI) -> FitResult | None:
    """Train, measure the best checkpoint, and write summary and figures; None on helping processes of DDP."""
    data: PolicyPoolDataModule = cli.datamodule
    with _interruptible():
        check_writable(cli.parent)
        data.prepare_data()  # with its own progress bars and errors, before a run folder exists
        data.setup()
        if cli.resume_from is not None:
            check_same_pools(
                [one.pool for one in data.splits], load_autoencoder(cli.resume_from).hparams["description"]
            )
        cli.claim_run()
        try:
            with alone(cli.run_folder, wait=False) if cli.trainer.is_global_zero else contextlib.nullcontext():
                return _train(cli, data)
        except MisconfigurationException as error:
            raise UserError(f"--trainer: {' '.join(str(error).split())}") from error
        finally:
            forget_run_folder()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Undo Lightning's handling of an interruption: it exits with 1 and ignores Ctrl-C from then on."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop
    finally:
        # Only the main thread may set a handler, and only there has Lightning set one.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _train(cli: FitCLI, data: PolicyPoolDataModule) -> FitResult | None:
    if cli.trainer.is_global_zero:
        cli.save_config()
    try:
        tracker = cli.begin_loggers()
    except UserError:
        if cli.resume_from is None:
            shutil.rmtree(cli.run_folder, ignore_errors=True)
        raise
    with tracker:
        return _train_and_measure(cli, data, tracker)


def _train_and_measure(cli: FitCLI, data: PolicyPoolDataModule, tracker: Tracker) -> FitResult | None:
    with held_interrupts() as let_in:
        cli.trainer.callbacks.append(LetInterrupts(let_in))  # type: ignore[attr-defined]
        cli.trainer.fit(cli.model, data, ckpt_path=cli.resume_from, weights_only=True)
    seconds = cli.time.time_elapsed()  # before the test, which reads the time of the best checkpoint
    if cli.trainer.interrupted:
        raise KeyboardInterrupt
    best = Path(cli.trainer.checkpoint_callback.best_model_path)  # type: ignore[union-attr]
    if not best.is_file():
        raise UserError(
            "training ended, but there is no best checkpoint: "
            + (f"{best} was removed" if best.name else "no validation came before its end; raise --trainer.max_steps")
        )
    cli.trainer.test(cli.model, data, ckpt_path=best, verbose=False, weights_only=True)
    if not cli.trainer.is_global_zero:
        return None
    # `ErrorSums.policy_errors` of the test, and the policies' rows in the pool, (N,).
    with replacing(cli.run_folder / "policy_errors.npz") as path, path.open("wb") as file:
        # Policies of one climb are alike: who resamples them takes whole climbs.
        climbs = {"climbs": climbs_of(data.pool, data.test.rows)} if data.held_out == "climbs" else {}
        np.savez(file, allow_pickle=False, rows=data.test.rows, **climbs, **cli.model.sums.policy_errors())
    return _summarize(cli, data, best, cli.model.sums.fvu(), seconds, tracker)


def references(data: PolicyPoolDataModule, sizes: Sequence[int]) -> dict[str, float]:
    """Return the linear references on the split of `val_fvu`, and as `test_...` on that of `test_fvu`.

    The last size is k, and PCA on actions has all sizes. The two splits may differ much where whole climbs are held out.
    """
    val, test = (_references_on(data, part, sizes) for part in (data.val, data.test))
    del test["affine_numbers"]  # of the training states alone
    val["params_pca_fvu"], test["params_pca_fvu"] = _params_pca_fvu(data, sizes[-1])
    return val | {f"test_{key}": value for key, value in test.items()}


def _references_on(data: PolicyPoolDataModule, part: Part, sizes: Sequence[int]) -> dict[str, float]:
    held_out = part.all_actions()
    # Training policies on the held-out states, and the reverse, are what they are fitted to.
    seen_there = data.train.on_states_of(part).all_actions(_PCA_POLICIES)
    pca = pca_fvu(seen_there.flatten(1), held_out.flatten(1), list(sizes))
    affine, numbers = affine_fvu(data.train.states, part.on_states_of(data.train).all_actions(), part.states, held_out)
    return {
        "pca_fvu": pca[sizes[-1]],
        **({f"pca_fvu_k{size}": pca[size] for size in sizes} if len(sizes) > 1 else {}),
        "affine_fvu": affine,
        "affine_numbers": float(numbers),
    }


def _params_pca_fvu(data: PolicyPoolDataModule, components: int) -> list[float]:
    """Return the FVU of PCA on weights on the split of `val_fvu` and that of `test_fvu`, with one decomposition for both."""
    count, parts = min(2048, _PARAMS_FLOATS // (2 * data.layout.num_params)), (data.val, data.test)
    unseen = [data.pool.params(part.rows[: count // 4]) for part in parts]
    rebuilt = project(data.pool.params(data.train.rows[:count]), torch.cat(unseen), components).split(
        [*map(len, unseen)]
    )
    return [
        fvu(act_shared(data.layout, params, part.states), part.all_actions()[: len(params)])
        for params, part in zip(rebuilt, parts, strict=True)
    ]


@torch.no_grad()
def _summarize(
    cli: FitCLI,
    data: PolicyPoolDataModule,
    best: Path,
    tested: Mapping[str, float],
    seconds: float,
    tracker: Tracker,
) -> FitResult:
    model = load_autoencoder(best)
    step = torch.load(best, map_location="cpu", weights_only=True)["global_step"]
    # Of the validation that chose the checkpoint.
    val_fvu, train_fvu = next((val, train) for at, val, train in reversed(cli.history.rows) if at == step)
    meta = data.pool.meta
    spread, ratio = model.latent_spread()
    summary: dict[str, Any] = {
        "env": meta["env"]["id"],
        "policy": cli.config.policy.name,
        "params_per_policy": data.layout.num_params,
        "recipe": meta.get("recipe", "random"),
        "pool_size": len(data.pool),
        "latent_dim": model.hparams["latent_dim"],
        "encoder": model.hparams["encoder"],
        "seed": data.seed,
        "val_fvu": val_fvu,
        "test_fvu": tested["test_fvu"],
        "train_fvu": train_fvu,
        **references(data, model.bottleneck.prefixes()),
        "latent_spread": float(spread),
        "latent_participation_ratio": float(ratio),
        "novelty_contrast": meta["novelty_contrast"],
        "steps": cli.trainer.global_step,
        "collect_seconds": meta["collect_seconds"],
        "fit_seconds": round(seconds, 2),
        "pool": str(data.folder),
        "checkpoint": str(cli.run_folder / "checkpoints" / best.name),
        **mean_entropies(data.pool),
        **_parts_of_gaussians(model, data),
        **held_out_climbs(data),
        **measure_starts(model, data.pool),
        **{key: value for key, value in tested.items() if key != "test_fvu"},
    }
    lucky = lucky_tasks(summary, data.pool)
    summary["next_command"] = search_command(summary["checkpoint"], data.pool, cli.config.logs, lucky)
    if model.hparams["bottleneck"] != "plain":
        summary["bottleneck"] = model.hparams["bottleneck"]
        curve = cli.model.sums.curve()
        summary |= {f"test_fvu_k{size}": curve[size] for size in model.bottleneck.prefixes() if len(curve) > 1}
        if cli.model.sums.kl:
            summary["test_kl"] = float(torch.cat(cli.model.sums.kl).mean(0).sum())
    _draw(cli, data, model, summary, tracker)
    write_json(cli.run_folder / "summary.json", summary)
    curves = look_command(cli.loggers, cli.run_folder.parent)
    show_fit(summary, fit_notes(summary, cli.history.rows, lucky), data.pool, cli.run_folder, curves)
    return FitResult(cli.run_folder, summary)


def _parts_of_gaussians(model: BehaviorAutoencoder, data: PolicyPoolDataModule) -> dict[str, float]:
    """Return the held-out FVU of means and of standard deviations apart, where policies have a `gaussian` head."""
    if data.layout.head.kind != "gaussian":
        return {}
    own, rebuilt = [], []
    for batch in data.val_dataloader()[0]:
        own.append(batch.actions)
        rebuilt.append(act_shared(data.layout, model.decoder(model._encode_batch(batch)), batch.states))
    halves = (torch.cat(part).chunk(2, -1) for part in (rebuilt, own))
    return {
        f"val_fvu_{name}": fvu(*both) for name, both in zip(("mean", "std"), zip(*halves, strict=True), strict=True)
    }


def _draw(
    cli: FitCLI, data: PolicyPoolDataModule, model: BehaviorAutoencoder, summary: dict[str, Any], tracker: Tracker
) -> None:
    """Draw the figures of a fit, to disk and to the loggers, and log the references there."""
    title = f"{cli.config.env.name}, {cli.config.policy.name} policies, k = {summary['latent_dim']}"
    batch = data.val[(np.arange(min(1000, len(data.val))), np.arange(len(data.val.states)))]
    latents = model._encode_batch(batch)
    rebuilt = act_shared(data.layout, model.decoder(latents), batch.states)
    _, axis = principal_axes(batch.actions.flatten(1), 1)
    color = ((batch.actions - batch.mean_actions).flatten(1).double() @ axis[0]).numpy()
    figures = {
        "fvu": fit_figures.fvu_curve(cli.history.rows, summary["pca_fvu"], summary["affine_fvu"], title),
        "reconstruction": fit_figures.reconstruction(
            batch.actions[:200].numpy(), rebuilt[:200].numpy(), summary["val_fvu"], data.layout.head.kind
        ),
        "latents": fit_figures.latent_scatter(latents.numpy(), color, title),
    }
    if len(curve := cli.model.sums.curve()) > 1:
        pca = {size: summary[f"test_pca_fvu_k{size}"] for size in model.bottleneck.prefixes()}
        figures["prefixes"] = fit_figures.prefix_curve(curve, pca, title)
    for name, figure in figures.items():
        tracker.figure(name, figure, summary["steps"], cli.run_folder / "figures")
    tracker.log({key: summary[key] for key in ("pca_fvu", "params_pca_fvu", "affine_fvu")}, summary["steps"])
