"""Checks of Lightning's settings, of which some would make a fit measure something else, or nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

from lightning_pz.common.checks import RecipeKind, at_least, one_of, plain_name, seeds
from lightning_pz.common.command_line import flat_settings
from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import given_keys

_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
_SAME_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed", "None": "32-true"}
_WHOLE = "held-out FVU is measured on whole splits"
_CHOSEN = "checkpoints are chosen by held-out FVU, at each validation"
_FIXED: dict[str, tuple[tuple[Any, ...], str]] = {
    "trainer.fast_dev_run": ((False, 0), "for a trial take a small pool and few steps (--trainer.max_steps 100)"),
    "trainer.overfit_batches": ((0, 0.0), f"{_WHOLE}; take a small pool to overfit one (--data.random.candidates)"),
    "trainer.limit_train_batches": ((None, 1.0), "--data.steps_per_epoch says how many steps an epoch has"),
    "trainer.limit_val_batches": ((None, 1.0), f"{_WHOLE}; --data.val_share says how large they are"),
    "trainer.limit_test_batches": ((None, 1.0), f"{_WHOLE}; --data.test_share says how large they are"),
    "trainer.barebones": ((False,), "nothing would be measured"),
    "trainer.enable_checkpointing": ((None, True), "the result of a fit is its checkpoint"),
    "trainer.logger": ((None, True), "--logger says where numbers go"),
    "checkpoint.dirpath": ((None,), "checkpoints lie in the run folder; --logs and --run_name say where that is"),
    "checkpoint.monitor": (("val_fvu",), _CHOSEN),
    "checkpoint.mode": (("min",), _CHOSEN),
    "checkpoint.every_n_train_steps": ((None, 0), f"{_CHOSEN}; --data.steps_per_epoch says how often"),
    "checkpoint.train_time_interval": ((None,), f"{_CHOSEN}; --data.steps_per_epoch says how often"),
    "checkpoint.every_n_epochs": ((None, 1), f"{_CHOSEN}; --trainer.check_val_every_n_epoch says how often"),
    "checkpoint.save_on_train_epoch_end": ((False,), _CHOSEN),
    "early_stopping.monitor": (("val_fvu", "train_fvu"), "these are what a validation measures"),
    "early_stopping.mode": (("min",), "the lower FVU is the better one"),
    "early_stopping.check_on_train_epoch_end": ((False,), "FVU is known after a validation"),
}


def check_fit_settings(config: Any) -> None:
    """Raise `UserError` for the first setting that a fit cannot honor, of a parsed jsonargparse namespace."""
    if (seed := config.seed_everything) is False or seed is None:
        raise UserError(f"--seed_everything expects a seed, without which no fit can be repeated, but got {seed}")
    if seed is not True:  # for which Lightning draws one and writes it into the settings
        seeds({"seed_everything": seed})
    if config.run_name is not None:
        plain_name("run_name", config.run_name)
        if config.ckpt_path:
            raise UserError("--run_name names a new run, but --ckpt_path resumes one: leave one of them out")
    for key, (allowed, why) in _FIXED.items():
        section, name = key.split(".")
        value = config[section].get(name)
        if not any(type(value) is type(one) and value == one for one in allowed):
            expected = " or ".join(str(one) for one in allowed if one is not None) or "no value"
            raise UserError(f"--{key} expects {expected} in a fit, but got {value}: {why}")
    try:
        precision = str(config.trainer.precision)
        one_of("trainer.precision", _SAME_PRECISION.get(precision, precision), _PRECISIONS)
    except UserError as error:
        why = "Weights and checkpoints are float32; mixed precision computes in half of that."
        raise UserError(f"{error} {why}") from None
    _check_checkpoint(config.checkpoint)
    _check_length(config.trainer, config.data.steps_per_epoch)


def check_recipe_words(arguments: Sequence[str], recipe: str) -> None:
    """Refuse settings of the recipe that the pool is not made by, unless the recipe is named as well.

    Presets of environments choose a recipe; who sets `--data.random.candidates` alone, or has it in a file, would get a grown
    pool all the same. The config.yaml of a run names its recipe, and settings of the other one there are no mistake.

    Args:
        arguments: Of the command, after `expand_presets`.
        recipe: The one that its settings choose.
    """
    own = [word for word in arguments if not word.startswith("--config={")]  # such are what presets say
    in_files = [f"--{name}" for name in flat_settings(given_keys(own))]
    names = [word.partition("=")[0] for word in own]
    if "--data.recipe" in {*names, *in_files}:
        return
    for other in (kind for kind in get_args(RecipeKind) if kind != recipe):
        of_other = [name for name in [*names, *in_files] if f"{name}.".startswith(f"--data.{other}.")]
        if of_other:
            where = "" if of_other[0] in names else " of the --config file"
            raise UserError(
                f"{of_other[0]}{where} is a setting of --data.recipe {other}, but the recipe is {recipe} here: give "
                f"--data.recipe {other} as well, or leave it out"
            )


def check_weights_unread(with_params: bool) -> None:
    """Raise `UserError` if encoder or loss read weights, where policies of several sizes have one latent."""
    if with_params:
        raise UserError(
            "--model.encoder parameters and --model.loss parameters compare weights, of which policies of two sizes have no "
            "common ones: give one pool and no --decodes, or leave both at behavior"
        )


def _check_checkpoint(checkpoint: Any) -> None:
    name, count = checkpoint.filename, checkpoint.save_top_k
    if count < 1 and count != -1:
        raise UserError(
            f"--checkpoint.save_top_k expects at least 1, or -1 for all, but got {count}: the best checkpoint is the result"
        )
    if not name or "/" in name or name == "last":
        raise UserError(f"--checkpoint.filename expects a file name that is not `last`, but got {name!r}")
    if count != 1 and "{" not in name:
        raise UserError(
            f"--checkpoint.save_top_k {count} keeps several checkpoints, but --checkpoint.filename {name} is one name for "
            "all of them: give a pattern, such as '{step}', or leave it at 1"
        )


def _check_length(trainer: Any, steps_per_epoch: int) -> None:
    """Check that training ends, and not before its first validation."""
    steps, epochs = trainer.max_steps, trainer.max_epochs
    if steps in (-1, None) and epochs in (-1, None):
        raise UserError("--trainer.max_steps expects a number of steps above 0")
    for flag, value in (("max_steps", steps), ("max_epochs", epochs)):
        if value not in (-1, None):
            at_least(1, {f"trainer.{flag}": value})
    if trainer.check_val_every_n_epoch is not None:
        at_least(1, {"trainer.check_val_every_n_epoch": trainer.check_val_every_n_epoch})
    at_least(1, {"trainer.accumulate_grad_batches": trainer.accumulate_grad_batches})
    if steps_per_epoch < 1:
        return  # which the DataModule refuses
    batches = first_validation(trainer, steps_per_epoch)
    ends = [] if steps in (-1, None) else [steps * trainer.accumulate_grad_batches]
    ends += [] if epochs in (-1, None) else [epochs * steps_per_epoch]
    if batches is not None and min(ends) < batches:
        first = math.ceil(batches / trainer.accumulate_grad_batches)
        raise UserError(
            f"the first validation comes after {first} training steps, but training ends after "
            f"{math.ceil(min(ends) / trainer.accumulate_grad_batches)}: raise --trainer.max_steps to at least {first}, or "
            f"lower --data.steps_per_epoch ({steps_per_epoch}), --trainer.check_val_every_n_epoch "
            f"({trainer.check_val_every_n_epoch}) or --trainer.val_check_interval ({trainer.val_check_interval or 1.0})"
        )


def first_validation(trainer: Any, steps_per_epoch: int) -> int | None:
    """Return how many training batches come before the first validation, or None if the clock decides."""
    interval, every = trainer.val_check_interval, trainer.check_val_every_n_epoch
    if interval is None:
        interval = 1.0
    if not isinstance(interval, int | float):
        return None
    own = int(steps_per_epoch * interval) if isinstance(interval, float) else interval
    if own < 1 or (isinstance(interval, float) and interval > 1) or (every is not None and own > steps_per_epoch):
        raise UserError(
            f"--trainer.val_check_interval expects a share of an epoch of {steps_per_epoch} steps (--data.steps_per_epoch), "
            f"or as many steps at most, but got {interval}"
        )
    return own + (0 if every is None else (every - 1) * steps_per_epoch)
