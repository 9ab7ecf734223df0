"""The command that goes on with a pool, for the closing lines of `collect` and `export`."""

from __future__ import annotations

import json
import shlex

import yaml

from lightning_pz.envs.presets import EnvConfig, PolicyConfig, conf_dir, load_preset, preset_names
from lightning_pz.pool.store import Pool

_LEAST = 2
"""Policies that each held-out part must have; see `split_rows`."""


def fit_command(env: EnvConfig, policy: PolicyConfig, logs: str, pool: Pool) -> str:
    """Return the `fit` command for a pool that `collect` made, with every flag that differs from `fit`'s defaults.

    If the pool is too small to split, the text says so instead.
    """
    if len(pool) < 3 * _LEAST:
        return f"a pool of {3 * _LEAST} policies or more, to be split for a fit: raise --candidates or --keep"
    words = ["python", "-m", "lightning_pz.fit", *pool_words(env, policy, pool), "--data.pool", str(pool.folder)]
    if logs != "logs":
        words += ["--logs", logs]
    shipped = yaml.safe_load((conf_dir() / "fit.yaml").read_text())
    largest = pool.meta["states"]["probe"] * pool.layout.feature_size
    if shipped["model"]["latent_dim"] > largest:
        words += ["--model.latent_dim", str(largest)]
    for name in ("val_share", "test_share"):
        if round(shipped["data"][name] * len(pool)) < _LEAST:
            words += [f"--data.{name}", f"{_LEAST / len(pool):.4f}"]
    return shlex.join(words)


def pool_words(env: EnvConfig, policy: PolicyConfig, pool: Pool) -> list[str]:
    """Return the words of a command that ask for a pool's environment and policies."""
    return [*_env_words(env, pool), *_policy_words(policy)]


def _env_words(env: EnvConfig, pool: Pool) -> list[str]:
    known = load_preset("env", env.name)["env"] if env.name in preset_names("env") else {"id": None}
    shipped, horizon = known["id"] == env.id, pool.meta["env"]["horizon"]
    words = ["--env", env.name] if shipped else ["--env", env.id, "--env.name", env.name]
    if env.kwargs:
        words += ["--env.kwargs", json.dumps(env.kwargs)]
    return words if shipped and known["horizon"] == horizon else [*words, "--env.horizon", str(horizon)]


def _policy_words(policy: PolicyConfig) -> list[str]:
    known = load_preset("policy", policy.name)["policy"] if policy.name in preset_names("policy") else {}
    words = ["--policy", policy.name] if known else [f"--policy.name={policy.name}"]
    base = vars(PolicyConfig(**known))
    for name, value in vars(policy).items():
        if name != "name" and (value != base[name] or (not known and name in ("hidden", "activation"))):
            words.append(
                f"--policy.{name}={'[' + ','.join(map(str, value)) + ']' if name == 'hidden' else str(value).lower()}"
            )
    return words
