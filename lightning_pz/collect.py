"""Make a pool of random policies: `python -m lightning_pz.collect --env halfcheetah --policy medium`.

Draws candidates, looks at what they do on the probe states, keeps the most novel share, and writes a pool folder
`logs/pools/<name>`: `pool.json` (recipe, counts, versions, digests) beside arrays that are read without copying.
`fit` makes the same pool by itself; with equal settings it finds this one.
"""

from __future__ import annotations

from lightning_pz.errors import run_main
from lightning_pz.presets import EnvConfig, PolicyConfig, expand_presets


def main(arguments: list[str]) -> None:
    """Run the whole job on command-line arguments."""
    arguments = expand_presets("collect", arguments)
    from pathlib import Path

    from jsonargparse import ArgumentParser

    from lightning_pz.console import show_end
    from lightning_pz.envs.specs import env_spec
    from lightning_pz.policy import Layout
    from lightning_pz.pool.recipe import RandomRecipe, collect

    parser = ArgumentParser(prog="python -m lightning_pz.collect", description=__doc__)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(EnvConfig, "env")
    parser.add_class_arguments(PolicyConfig, "policy")
    parser.add_class_arguments(RandomRecipe)
    parser.add_argument("--logs", type=str, default="logs", help="Folder for pools and runs.")
    parser.add_argument(
        "--pool", type=str | None, default=None, help="Folder to make; named by its recipe if not given."
    )
    given = parser.parse_args(arguments)
    config = parser.instantiate(given)
    names = RandomRecipe.__dataclass_fields__
    recipe = RandomRecipe(**{name: config[name] for name in names})
    spec = env_spec(config.env.id, config.env.horizon)
    layout = Layout(spec.observation_size, tuple(config.policy.hidden), spec.action_size, config.policy.activation)
    name = recipe.folder_name(config.env.name, config.policy.name, layout)
    folder = Path(config.pool) if config.pool else Path(config.logs) / "pools" / name
    found = folder.exists()
    pool = collect(folder, spec, layout, recipe)
    meta = pool.meta
    show_end(
        {
            "environment": spec.id,
            "weights per policy": f"{layout.num_params:,}",
            "candidates": f"{meta['candidates']:,}",
            "behave differently": f"{meta['distinct']:,}",
            "kept": f"{meta['kept']:,}",
            "novelty contrast": f"{meta['novelty_contrast']:.3f}",
            "seconds": "was there already" if found else f"{meta['collect_seconds']:.0f}",
        },
        f"python -m lightning_pz.fit --env {config.env.name} --policy {config.policy.name} --data.pool {folder}",
        folder,
    )


if __name__ == "__main__":
    run_main(main)
