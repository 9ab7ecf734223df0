"""Train a behavior autoencoder on a pool of policies: `python -m lightning_pz.fit --env halfcheetah`.

Makes the pool and the state sample if there are none, trains, measures held-out FVU (the fraction of action variance
unexplained) beside its linear references, and leaves a run folder, `logs/fit/<env>/<run>`. Pools of all
presets but mountaincar are grown, all others drawn at random; `--data.recipe` and `--config` say otherwise, and
`--config conf/paper.yaml` is the published method. A pool of `--data.pool` is used as it is: a recipe or a setting of one beside it
on the command line must be that of the pool, while a `--config` file may hold another. A fit leaves:

    config.yaml      every setting; `--config` on it repeats the run
    summary.json     what the closing table shows, and more
    checkpoints/     best.ckpt by held-out FVU, and last.ckpt to resume from with `--ckpt_path last`
    figures/         FVU curve, true against reconstructed actions, latent scatter
    events.*         for TensorBoard
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_pz.common.errors import run_main
from lightning_pz.envs.presets import expand_presets

if TYPE_CHECKING:
    from lightning_pz.jobs.fit import FitResult


def main(arguments: list[str]) -> FitResult | None:
    """Run the whole job on command-line arguments and return its result; None on the helping processes of DDP."""
    arguments = expand_presets("fit", arguments)
    # The heavy imports come only now, after a mistake in --env or --policy is refused.
    from lightning_pz.jobs.fit import prepare_fit, run_fit

    cli = prepare_fit(arguments, __doc__ or "")
    # Here alone: a study's fits carry the recipe that a preset chooses among their own settings.
    cli.check_pool_words(arguments)
    return run_fit(cli)


if __name__ == "__main__":
    run_main(main)
