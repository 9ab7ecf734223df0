"""Optional packages: found before they are needed, with the line that installs them. Imports nothing heavy."""

from __future__ import annotations

from lightning_pz.common.checks import is_installed
from lightning_pz.common.errors import UserError

NEEDED = {"cmaes": ("cma", "cmaes"), "iso_line": ("ribs", "qd")} | dict.fromkeys(
    ("ppo", "sac", "td3", "ddpg"), ("stable_baselines3", "baselines")
)
"""By algorithm or emitter: the module it imports, and the extra of this package that installs it."""


def check_extra(algorithm: str, flag: str = "algorithm") -> None:
    """Raise `UserError` if what an algorithm needs, asked for by a flag, is not installed."""
    if algorithm not in NEEDED:
        return
    module, extra = NEEDED[algorithm]
    if not is_installed(module):
        raise UserError(
            f"--{flag} {algorithm} needs the package {module}, which is not installed: "
            f"pip install 'lightning_pz[{extra}]'"
        )
