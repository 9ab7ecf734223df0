"""Shared fixtures: shape checks switched on, one small real pool."""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test workers, and the processes they begin, share two cores

# Before the hook, under which a library that is imported by the package is compiled from its source.
import gymnasium.envs.mujoco  # noqa: F401
import lightning.pytorch.cli  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import optuna  # noqa: F401
import scipy.stats  # noqa: F401
from jaxtyping import install_import_hook

# So that `--env odd_environments:PointMass-v0` is found, here and by worker processes, and so are the checks.
sys.path.append(str(Path(__file__).parent))

import drawing
import shape_checks

# Annotations of the package are checked while the tests run.
hook = install_import_hook("lightning_pz", "shape_checks.check")
drawing.install()

import pytest  # noqa: E402
import torch  # noqa: E402
from xdist.scheduler import LoadScopeScheduling  # noqa: E402

from lightning_pz.envs.specs import EnvSpec, env_spec  # noqa: E402
from lightning_pz.policy import Layout, PolicyNetwork  # noqa: E402
from lightning_pz.pool.recipe import RandomRecipe, collect  # noqa: E402
from lightning_pz.pool.states import StateCounts  # noqa: E402
from lightning_pz.pool.store import Pool  # noqa: E402

torch.set_num_threads(1)

_TOGETHER = (
    "sweeps/test_options.py", "sweeps/test_growth.py", "sweeps/test_compare.py", "sweeps/test_recovery.py", "optuna_study/test_command.py",
    "sweeps/test_manifolds.py", "autoencoder/test_bottlenecks.py", "evaluation/test_evaluate.py",
    "sweeps/test_few_episodes.py",
)  # fmt: skip
"""Files whose tests share what takes long to make: one worker makes it once."""


class _FilesTogether(LoadScopeScheduling):  # type: ignore[misc]
    """Tests go to whichever worker is free, but those of a file in `_TOGETHER` all to one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file.endswith(_TOGETHER) else nodeid


# xdist's own `loadgroup` writes its groups into `_nodeid`, which pytest 9 no longer reads.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Schedule as `_FilesTogether` does, whatever `--dist` says."""
    return _FilesTogether(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check the first calls of every function anew; draw all figures of tests that ask for it."""
    shape_checks.begin()
    drawing.begin(item.get_closest_marker("draws") is not None)


def forget_modules_under(folder: Path) -> None:
    """Let the next import of a module whose file lies under a folder read its file again."""
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(f"{folder}{os.sep}"):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def _own_modules_only(tmp_path_factory):
    """Tests that write modules of one name must not get each other's, whichever of them a worker runs first."""
    known = len(sys.modules)
    yield
    if len(sys.modules) != known:
        forget_modules_under(tmp_path_factory.getbasetemp())


SMALL_STATES = StateCounts(probe=16, train=24, val=12, test=12, source="uniform")


@pytest.fixture(scope="session")
def car() -> EnvSpec:
    return env_spec("MountainCarContinuous-v0")


@pytest.fixture(scope="session")
def layout() -> Layout:
    return Layout(2, (8, 8), 1)


@pytest.fixture(scope="session")
def recipe() -> RandomRecipe:
    return RandomRecipe(candidates=400, keep=0.5, neighbors=5, states=SMALL_STATES)


@pytest.fixture(scope="session")
def pool(tmp_path_factory, car, layout, recipe) -> Pool:
    return collect(tmp_path_factory.mktemp("pools") / "car", car, layout, recipe, progress=False)


TINY_FIT = [
    "--policy", "small", "--model.latent_dim", "2", "--model.encoder_widths", "[16]", "--model.decoder_widths", "[16]",
    "--data.random.candidates", "300", "--data.random.neighbors", "5", "--data.batch_size", "32",
    "--data.random.states", "{probe: 16, train: 24, val: 12, test: 12}", "--data.states_per_step", "8",
    "--data.steps_per_epoch", "10", "--trainer.max_steps", "30", "--trainer.log_every_n_steps", "5",
]  # fmt: skip


@pytest.fixture(scope="session")
def fitted(tmp_path_factory):
    """Finish a tiny fit on Mountain Car; returns its `FitResult`."""
    from lightning_pz.fit import main

    return main(["--env", "mountaincar", *TINY_FIT, "--logs", str(tmp_path_factory.mktemp("fitted"))])


def network_of(spec: EnvSpec, hidden: tuple[int, ...] = (4,)) -> PolicyNetwork:
    """Return a network for an environment that takes observations as they are."""
    layout = Layout(spec.observation_size, hidden, spec.action_size)
    low, high = torch.tensor(spec.action_low), torch.tensor(spec.action_high)
    return PolicyNetwork(layout, torch.zeros(spec.observation_size), torch.ones(spec.observation_size), low, high)
