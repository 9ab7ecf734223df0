"""Measures what a latent space can do, against what its pool can do: recovery with intervals, tables, figures, films."""

from typing import TYPE_CHECKING

from lightning_pz.common.lazy_names import lazy_names

if TYPE_CHECKING:
    from lightning_pz.evaluation.elsewhere import transfer_fvu
    from lightning_pz.evaluation.groups import EvaluateConfig, play_groups
    from lightning_pz.evaluation.metrics import recovery
    from lightning_pz.evaluation.run import evaluate, load_checkpoints

__all__ = ["EvaluateConfig", "evaluate", "load_checkpoints", "play_groups", "recovery", "transfer_fvu"]
__getattr__ = lazy_names(
    __name__,
    {
        "EvaluateConfig": "groups", "evaluate": "run", "load_checkpoints": "run", "play_groups": "groups",
        "recovery": "metrics", "transfer_fvu": "elsewhere",
    },
)  # fmt: skip
