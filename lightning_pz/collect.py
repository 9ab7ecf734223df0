"""Make a pool of policies: `python -m lightning_pz.collect --env halfcheetah --policy medium`.

`--recipe random`, the paper's and the default, draws candidates, looks at what they do on the probe states and keeps
the most novel share. `--recipe grown` searches, with no reward of any task, for policies that go somewhere new, and
keeps those whose outcomes lie apart; it goes on where it was after a kill. Either writes a pool folder
`logs/pools/<name>`: `pool.json` (recipe, counts, versions, digests) beside arrays that are read without copying; a
grown pool also `figures/` and TensorBoard events. `fit` makes the same pool by itself; with equal settings it finds
this one.
"""

from __future__ import annotations

from typing import Any

from lightning_pz.common.errors import UserError, nearest, run_main
from lightning_pz.envs.presets import EnvConfig, PolicyConfig, expand_presets, take_option

RECIPES = ("random", "grown")


def main(arguments: list[str]) -> None:
    """Run the whole job on command-line arguments."""
    chosen, arguments = take_option(arguments, "--recipe")
    chosen = chosen or "random"
    if chosen not in RECIPES:
        raise UserError(f"--recipe expects one of {', '.join(RECIPES)}, but got {chosen!r}." + nearest(chosen, RECIPES))
    arguments = expand_presets("collect" if chosen == "random" else "collect-grown", arguments)
    from pathlib import Path

    from jsonargparse import ArgumentParser

    from lightning_pz.common.console import show_end
    from lightning_pz.envs.specs import env_spec
    from lightning_pz.growth.loop import grow
    from lightning_pz.policy import Layout
    from lightning_pz.pool.grown_recipe import GrownRecipe
    from lightning_pz.pool.identity import find_folder
    from lightning_pz.pool.next_step import fit_command
    from lightning_pz.pool.recipe import RandomRecipe, collect

    kind: Any = RandomRecipe if chosen == "random" else GrownRecipe
    parser = ArgumentParser(prog="python -m lightning_pz.collect", description=__doc__)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(EnvConfig, "env")
    parser.add_class_arguments(PolicyConfig, "policy")
    parser.add_class_arguments(kind)
    parser.add_argument("--logs", type=str, default="logs", help="Folder for pools and runs.")
    parser.add_argument(
        "--pool", type=str | None, default=None, help="Folder to make; named by its recipe if not given."
    )
    given = parser.parse_args(arguments)
    config = parser.instantiate(given)
    recipe = kind(**{name: config[name] for name in kind.__dataclass_fields__})
    spec = env_spec(config.env.id, config.env.horizon)
    layout = Layout(spec.observation_size, tuple(config.policy.hidden), spec.action_size, config.policy.activation)
    parent = Path(config.logs) / "pools"
    folder = (
        Path(config.pool)
        if config.pool
        else find_folder(parent, config.env.name, config.policy.name, spec, layout, recipe)
    )
    found = folder.exists()
    pool = (collect if chosen == "random" else grow)(folder, spec, layout, recipe)
    meta = pool.meta
    rows = {"environment": spec.id, "weights per policy": f"{layout.num_params:,}"}
    rows |= _random_rows(meta) if chosen == "random" else _grown_rows(meta)
    rows["seconds"] = "was there already" if found else f"{meta['collect_seconds']:.0f}"
    show_end(
        rows,
        fit_command(config.env, config.policy, config.logs, pool),
        folder,
    )


def _random_rows(meta: dict[str, Any]) -> dict[str, str]:
    return {
        "candidates": f"{meta['candidates']:,}",
        "behave differently": f"{meta['distinct']:,}",
        "kept": f"{meta['kept']:,}",
        "novelty contrast": f"{meta['novelty_contrast']:.3f}",
    }


def _grown_rows(meta: dict[str, Any]) -> dict[str, str]:
    growth = meta["growth"]
    first, last = growth["history"][0], growth["history"][-1]
    rows = {
        "environment steps": f"{growth['steps']:,}",
        "rounds": str(growth["rounds"]),
        "policies played": f"{growth['played']:,}",
        "kept": f"{meta['kept']:,}",
        "coverage (sd of random policies)": f"{first['coverage']:.1f} -> {last['coverage']:.1f}",
        "effective dimension of outcomes": f"{first['effective_dimension']:.1f} -> {last['effective_dimension']:.1f}",
    }
    if growth["left_out"]:
        rows["constant, left out"] = ", ".join(growth["left_out"])
    for task in growth["tasks"]:
        rows[f"best {task} (report only)"] = f"{first[f'ceiling/{task}']:.0f} -> {last[f'ceiling/{task}']:.0f}"
    return rows


if __name__ == "__main__":
    run_main(main)
