"""A trained decoder as a folder for a model hub: weights without code in them, settings, and a card in Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.autoencoder.loose import CONFIG, WEIGHTS, plain_settings
from lightning_pz.common.checks import check_extra
from lightning_pz.common.files import file_digest, new_folder
from lightning_pz.common.known_folders import WHOLE
from lightning_pz.common.statistics import read_estimate
from lightning_pz.common.tables import Table
from lightning_pz.common.version import __version__
from lightning_pz.envs.specs import env_words
from lightning_pz.evaluation.fresh import FRESH
from lightning_pz.evaluation.metrics import BEST_FRESH, METRIC_LABELS

_SHOWN = ("recovery_best", BEST_FRESH, "reconstruction_gap", *FRESH.values())
_CARD = """---
library_name: lightning_pz
tags: [reinforcement-learning, policy-compression, latent-space, {slug}]
---

# {policies} policies of {env} in {latent}

A decoder from {latent} to a policy network of {params:,} weights ({layout}), trained without reward on {pool}, and the
encoder that reads a policy's behavior. By `lightning_pz` {version}.

```python
import torch
from lightning_pz import load_autoencoder

model = load_autoencoder("{place}")
latents = model.latents("density").draw(4, torch.Generator().manual_seed(0))  # where the pool's policies are
params = model.decoder(latents)  # their weights, (4, {params})
actions = model.policy(params, torch.zeros(4, 1, {seen}))  # actions on a raw observation
again = model.encode(params)  # and back to {latent}
```

## Numbers

{numbers}
FVU: the fraction of the variance of actions that stays unexplained, of policies that were held out. PCA with as many
components is fitted to training policies on the held-out states, which no decoder sees. One training seed, so no
interval.

{returns}
## Environment

{env}, episodes of {horizon:,} steps; {observations}, {acts}. Observations are standardized by fixed numbers that the
file holds. Estimates depend on the prior of the policies: {prior}.
"""


def write_hub_folder(checkpoint: Path, folder: Path) -> None:
    """Write a new folder with `model.safetensors`, `config.json` and `README.md`, from a checkpoint and what its run says.

    Metrics of evaluations of that checkpoint, found in `logs/evaluate` beside `logs/fit`, are on the card with their
    intervals. `load_autoencoder` opens the folder. Raises `UserError` for a file that is no checkpoint, or a folder that is there.
    """
    check_extra("safetensors", "hub", "--checkpoint ... --to FOLDER")
    from safetensors.torch import save_file

    model = load_autoencoder(checkpoint)
    with new_folder(folder) as temporary:
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, temporary / WEIGHTS, metadata={"format": "pt"})
        (temporary / CONFIG).write_text(json.dumps(plain_settings(model), indent=1) + "\n")
        (temporary / "README.md").write_text(_card(model, checkpoint, folder))


def _card(model: Any, checkpoint: Path, folder: Path) -> str:
    description, layout, spec = model.hparams["description"], model.layout, model.env
    summary = _read(checkpoint.parent.parent / "summary.json")
    names = {
        "val_fvu": "held out", "test_fvu": "test, which decided nothing", "train_fvu": "training policies",
        "pca_fvu": "PCA on behavior, held out", "test_pca_fvu": "PCA on behavior, test",
        "affine_fvu": "affine policies, held out", "test_affine_fvu": "affine policies, test",
    }  # fmt: skip
    rows = [[f"FVU, {word}", f"{summary[key]:.3f}"] for key, word in names.items() if summary.get(key) is not None]
    recipe = summary.get("recipe", "unknown")
    grown = f", grown in {summary['growth_steps']:,} steps" if "growth_steps" in summary else f" ({recipe})"
    pool = f"a pool of {summary['pool_size']:,} policies{grown}" if "pool_size" in summary else "a pool"
    return _CARD.format(
        slug=description["env_name"], policies=str(description["policy"]).capitalize(), env=env_words(spec),
        latent=_count(model.hparams["latent_dim"], "number"), params=layout.num_params, pool=pool, place=folder.name,
        layout=f"{' x '.join(map(str, layout.hidden)) or 'no'} hidden units, {layout.activation}, {layout.head.kind} head",
        version=__version__, seen=layout.observation_size, horizon=spec["horizon"],
        observations=_count(layout.observation_size, "observation"),
        acts=f"{_count(layout.action_size, 'action')} in a box" if not layout.head.choices else f"choices of {', '.join(map(str, layout.head.choices))}",
        numbers=Table(["", "FVU"], [[name.removeprefix("FVU, "), value] for name, value in rows]).markdown() if rows else "None are beside the checkpoint.\n",
        returns=_returns(checkpoint), prior=", ".join(f"{key} {value}" for key, value in description["prior"].items()),
    )  # fmt: skip


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _returns(checkpoint: Path) -> str:
    """Return the metrics of the newest evaluation of a checkpoint as a table, or nothing."""
    mark, logs = (
        file_digest(checkpoint),
        checkpoint.resolve().parents[4] if len(checkpoint.resolve().parents) > 4 else None,
    )
    found = (
        [] if logs is None else sorted((logs / "evaluate").glob(f"*/*/{WHOLE}"), key=lambda path: path.stat().st_mtime)
    )
    for path in reversed(found):
        settings, summary = _read(path), _read(path.parent / "summary.json")
        if settings.get("checkpoint") != mark or not any(key.endswith("/recovery_best") for key in summary):
            continue
        tasks = [key.removesuffix("/recovery_best") for key in summary if key.endswith("/recovery_best")]
        rows = [
            [METRIC_LABELS[metric], *(read_estimate(summary, f"{task}/{metric}") for task in tasks)]
            for metric in _SHOWN
        ]
        return (
            "Returns of whole episodes, of held-out policies of the pool and of decoded latents [95 % interval over policies; "
            f"of single policies and fresh episodes over episodes]:\n\n{Table(['', *tasks], rows).markdown()}\n"
        )
    return ""


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}
