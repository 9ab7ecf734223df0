"""Names of searches for readers: `latent PGPE from the pool's best` for `pgpe` with `start: pool_top`."""

from __future__ import annotations

from pathlib import Path

from lightning_pz.search.settings import SearchSettings

ALGORITHM_LABELS = {
    "pgpe": "latent PGPE", "cmaes": "latent CMA-ES", "bo": "latent Bayesian optimization",
    "random_latent": "random latents", "gradient": "latent policy gradient",
    "parameter_pgpe": "weight PGPE", "ppo": "PPO (defaults)", "sac": "SAC (defaults)", "td3": "TD3 (defaults)", "ddpg": "DDPG (defaults)",
    "tqc": "TQC (defaults)", "crossq": "CrossQ (defaults)", "dqn": "DQN (defaults)",
}  # fmt: skip
"""A name for each algorithm, in the order of `ALGORITHMS`."""
_SPACES = {"latent": "latent", "widened": "widened latent", "weights": "weight"}
"""Of searches that learn a policy of the decoder, half from old data; a learner with a network of its own keeps its name."""
_STARTS = {
    "draws": "", "pool_best": " from the pool's record holder", "pool_steady": " from the pool's steadiest",
    "pool_top": " from the pool's best",
}  # fmt: skip


def search_label(settings: SearchSettings, start_mark: str = "") -> str:
    """Return the name of a search: its algorithm, its start, and the settings that make it another method.

    A few letters, `start_mark`, distinguish the policy file at which it begins from others of that name.
    """
    file = f" from {Path(settings.start).stem} {start_mark}".rstrip()
    name = ALGORITHM_LABELS[settings.algorithm]
    if settings.space in _SPACES:
        name = f"{_SPACES[settings.space]} {settings.algorithm.upper()}"
    label = name + _STARTS.get(settings.start, file)
    if settings.hyperparameters == "zoo":
        label = label.replace("(defaults)", "(RL Zoo)")
    if settings.encodes_start and not settings.anchor:
        label += ", decoder not moved"
    if settings.space is not None and (settings.replay != 0.5 or settings.space not in _SPACES):
        share = {0.0: "no old data", 1.0: "old data alone"}.get(settings.replay, f"{settings.replay:.0%} old data")
        label += f", {share}"
    if settings.widen is not None:
        label += f", widened by {settings.widen:g}"
    if settings.algorithm == "pgpe" and settings.release_decoder_at is not None:
        label += f", decoder released at {short_steps(settings.release_decoder_at)}"
    return label


def short_steps(steps: int | float) -> str:
    """Return a number of environment steps in at most five characters."""
    unit, name = (1e6, "M") if steps >= 999_500 else (1e3, "k")
    return f"{steps / unit:.3g}{name}" if steps >= 999.5 else f"{steps:.0f}"
