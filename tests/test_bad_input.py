"""Bad input: a sentence that says what was expected, what came and what to do; exit code 2; nothing written."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from lightning_pz import collect, fit
from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.errors import UserError


class _Image(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = gymnasium.spaces.Box(-1, 1, (1,))


class _Dict(gymnasium.Env):
    observation_space = gymnasium.spaces.Dict({"x": gymnasium.spaces.Box(-1, 1, (2,))})
    action_space = gymnasium.spaces.Box(-1, 1, (1,))


class _Unbounded(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))


class _Parts(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(2)])


class _Alone(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(1)


ENTRIES = {"Image": _Image, "Dict": _Dict, "Unbounded": _Unbounded, "Parts": _Parts, "Alone": _Alone}


@pytest.fixture(scope="module", autouse=True)
def environments():
    for name, entry in ENTRIES.items():
        gymnasium.register(f"{name}-v0", entry_point=entry, disable_env_checker=True)
    yield
    for name in ENTRIES:
        del gymnasium.registry[f"{name}-v0"]


@pytest.mark.parametrize("main", [fit.main, collect.main])
@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--env", "halfcheeta"], "Did you mean 'halfcheetah'"),
        (["--env", "HalfCheetha-v5"], "Did you mean 'HalfCheetah-v5'"),
        (["--env", "Parts-v0"], "actions are a flat Box.*has Tuple actions"),
        (["--env", "Alone-v0"], "factor 0 is always 0, which leaves nothing to choose"),
        (["--env", "CartPole-v1", "--policy.head", "gaussian"], "head gaussian does not fit CartPole-v1"),
        (["--env", "mountaincar", "--policy.head", "categorical"], "head categorical does not fit Mountain"),
        (["--env", "mountaincar", "--policy.sample", "true"], "a tanh head gives one action"),
        (["--env", "Image-v0"], "observations are a flat Box.*shape"),
        (["--env", "Dict-v0"], "observations are a flat Box.*has Dict"),
        (["--env", "Unbounded-v0"], "unbounded action box"),
        (["--env"], "--env expects a value"),
        ([], "which environment"),
        (["--env", "mountaincar", "--policy", "meduim"], "Did you mean 'medium'"),
        (["--config", "nowhere.yaml"], "there is none at nowhere.yaml"),
    ],
)
def test_what_can_be_told_from_the_arguments(main, arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"(?s){sentence}"):
        main(arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--model.latent_dim", "0"], "at least 1, but got 0"),
        (["--model.latent_dim", "129"], "1 to 128, the numbers in a fingerprint"),
        (["--model.encoder", "behaviour"], "Did you mean 'behavior'"),
        (["--model.bottleneck", "nestd"], "Did you mean 'nested'"),
        (["--model.loss", "mse"], "expects one of behavior, behavior_rms, behavior_visited, parameters"),
        (["--model.dropout", "1.0"], "--model.dropout expects a share of at least 0 and below 1, but got 1.0"),
        (["--model.encoder_widths", "[-3]"], "--model.encoder_widths expects at least 1, but got -3"),
        (["--model.decoder_widths", "[8, 0]"], "--model.decoder_widths expects at least 1, but got 0"),
        (["--model.warmup_steps", "-1"], "--model.warmup_steps expects at least 0, but got -1"),
        (["--model.learning_rate", "0"], "--model.learning_rate expects a number above 0"),
        (["--model.weight_decay", "-1"], "--model.weight_decay expects a finite number of at least 0"),
        (["--data.pool", "nowhere"], "pool.json"),
        (["--data.random.keep", "0"], "--keep expects"),
        (["--data.held_out", "rounds"], "--data.held_out expects one of policies, climbs"),
        (["--data.random.states.source", "box"], "states.source expects one of rollouts, uniform"),
        (["--data.recipe", "gronw"], "Did you mean 'grown'"),
        (["--data.recipe", "grown", "--data.grown.steps", "5000"], "less than the first policies and one round"),
        (["--data.random.prior.gain", "-1"], "--prior.gain expects"),
        (["--ckpt_path", "last"], "no[a-z ]*earlier run|expects an earlier run"),
        (["--ckpt_path", "nowhere.ckpt"], "--ckpt_path expects"),
        (["--trainer.max_steps", "-1"], "--trainer.max_steps expects"),
    ],
)
def test_fit_settings(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence):
        fit.main(["--env", "mountaincar", *arguments])
    assert not list(tmp_path.iterdir())


def test_pool_of_another_environment_or_layout(pool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    states = ["--data.random.states", "{probe: 16, train: 24, val: 12, test: 12}", "--model.latent_dim", "2"]
    with pytest.raises(UserError, match="holds policies for MountainCar"):
        fit.main(["--env", "Pendulum-v1", "--data.pool", str(pool.folder), *states])
    with pytest.raises(UserError, match="holds policies of widths"):
        fit.main(["--env", "mountaincar", "--data.pool", str(pool.folder), *states])
    assert not list(tmp_path.iterdir())


def test_unknown_flag_names_itself():
    sentence = r"there is no option --model\.latent_dimm=3\. Did you mean '--model\.latent_dim'"
    with pytest.raises(UserError, match=sentence):
        fit.main(["--env", "mountaincar", "--model.latent_dimm=3"])


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint"])
def test_a_checkpoint_that_is_none(tmp_path, content):
    path = tmp_path / "some.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="checkpoint"):
        load_autoencoder(path)


def test_collect_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grown.yaml").write_text("recipe: grown\n")
    for arguments, sentence in (
        (["--recipe", "random", "--config", "grown.yaml"], "which asks for grown: leave one out"),
        (["--candidates", "3"], "--candidates expects"),
        (["--store", "disk"], "--store expects one of seeds, params, but got 'disk'"),
        (["--recipe", "grown", "--outcome", "means"], "--outcome expects .* Did you mean 'mean'"),
        (["--recipe", "grown", "--choice", "cover"], "Did you mean 'covering'"),
        (["--recipe", "grown", "--emitter", "cmeas"], "Did you mean 'cmaes'"),
        (["--recipe", "gronw"], "Did you mean 'grown'"),
        (["--recipe", "grown", "--steps", "5000"], "less than the first policies and one round"),
        (["--seed", "-1"], "--seed expects"),
        (["--prior.gain", "0", "--prior.bias_scale", "0", "--candidates", "50"], "behave differently"),
    ):
        with pytest.raises(UserError, match=sentence):
            collect.main(["--env", "mountaincar", *arguments])
    assert not [path for path in tmp_path.rglob("*") if path.is_dir() and path.parent.name == "pools"]


@pytest.mark.parametrize("module", ["fit", "collect"])
def test_the_real_command_exits_with_2_before_the_heavy_imports(module):
    script = (
        f"import runpy, sys; sys.argv = ['x', '--env', 'halfcheeta']\n"
        f"try: runpy.run_module('lightning_pz.{module}', run_name='__main__')\n"
        f"finally: print('torch' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert output.returncode == 2
    assert output.stdout.strip() == "False"
    assert output.stderr.startswith("error: --env expects") and "Traceback" not in output.stderr
