"""Every command over every odd environment: the right result, or one sentence and exit code 2."""

import json
import math
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from lightning_pz import collect, compress, evaluate, finetune, fit, report
from lightning_pz.common.errors import UserError
from lightning_pz.compression.seeds import RETURN_SEEDS
from lightning_pz.envs.episode_seeds import TEST_SEEDS
from lightning_pz.envs.episodes import play_episodes, record_episodes
from lightning_pz.envs.forward import BatchForward
from lightning_pz.envs.rollout import rollout
from lightning_pz.envs.simulators import make_simulator
from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import standard
from lightning_pz.policy import Prior, draw_params
from lightning_pz.policy.saved import SavedPolicy, load_policy
from tests.conftest import network_of

pytestmark = pytest.mark.filterwarnings("ignore:odd")  # one environment warns at each step, as some do

STATES = "{probe: 8, train: 8, val: 4, test: 4, episodes: 2}"
POLICY = ["--policy.hidden", "[4]"]
RANDOM = [*POLICY, "--candidates", "40", "--neighbors", "3", "--keep", "1", "--states", STATES]
GROWN = [
    *POLICY, "--recipe", "grown", "--steps", "1300", "--first", "32", "--size", "40", "--horizon", "20", "--directions", "2",
    "--population", "2", "--generations", "4", "--neighbors", "3", "--own_states", "2", "--threads", "1", "--states", STATES,
]  # fmt: skip
FIT = [
    *POLICY, "--model.latent_dim", "2", "--model.encoder_widths", "[8]", "--model.decoder_widths", "[8]",
    "--data.batch_size", "16", "--data.states_per_step", "4", "--data.steps_per_epoch", "4", "--trainer.max_steps", "4",
    "--probes.enabled", "false", "--trainer.log_every_n_steps", "2", "--data.random.states", STATES,
]  # fmt: skip
EVALUATE = [
    "--policies", "4", "--episodes", "2", "--best", "2", "--draws", "20", "--fresh_episodes", "2", "--threads", "1",
]  # fmt: skip
FINETUNE = [
    "--budget", "2100", "--starts", "2", "--pgpe.population", "2", "--random_latent.population", "4",
    "--gradient.policies", "1", "--gradient.episodes", "2", "--evaluation_episodes", "2", "--test_episodes", "2",
    "--evaluate_every", "1000", "--workers", "1", "--progress", "false",
]  # fmt: skip
LEARNER = ["--budget", "120", "--baselines.chunk", "120"]
DISTILL = [
    "--distill.steps", "20", "--distill.episodes", "1", "--distill.held_out", "1", "--distill.rounds", "1",
    "--distill.batch_size", "16", "--episodes", "2", "--progress", "false", "--sparsity", "0.5",
]  # fmt: skip
TRAIN = [
    "--algorithm", "ppo", "--method", "prune", "--sparsity", "0.5", "--steps", "64", "--episodes", "2", "--progress", "false",
    "--model", "{ppo: {n_steps: 32, batch_size: 16, n_epochs: 1, policy_kwargs: {net_arch: [4]}}}",
]  # fmt: skip

RIGHT = (
    "PointMass-v0", "FiniteBox-v0", "ConstantCoordinate-v0", "AsymmetricActions-v0", "HalfFloatActions-v0",
    "HalfInfiniteObservations-v0", "IntegerObservations-v0", "ByteObservations-v0", "DoubleObservations-v0", "OwnBuffer-v0",
    "ListObservations-v0", "WritesIntoActions-v0", "SingleRewards-v0", "IntegerRewards-v0", "ZeroDimensionalRewards-v0",
    "OneElementRewards-v0", "NumpyBools-v0", "OneElementEnds-v0", "OwnTruncation-v0", "EndsAtOnce-v0", "EndsByState-v0",
    "NanLate-v0", "NanRewardSometimes-v0", "Large-v0", "Prints-v0", "Warns-v0", "OddTime-v0", "Endless-v0", "Pushed-v0",
    "Bounded-v0", "odd/PointMass-v0", "odd/Point-Mass-v0", "pointmass-v0", "Hopper-variant-v0",
    "DiscreteActions-v0", "FactoredActions-v0", "BinaryActions-v0",
)  # fmt: skip
BEFORE_THE_WORK = {
    "IntegerActions-v0": "has int64 actions",
    "PinnedAction-v0": "coordinate 1 ranges from 0.5 to 0.5, a range of zero",
    "HugeActions-v0": "coordinate 0 ranges from -3e\\+38 to 3e\\+38, a range too large",
    "UnboundedActions-v0": "unbounded action box.*TransformAction",
    "MatrixActions-v0": r"actions are a flat Box.*shape \(1, 2\)",
    "DictObservations-v0": "observations are a flat Box.*has Dict",
    "RaisesInConstructor-v0": "cannot be made.*FileNotFoundError: model.xml is not there .*faults.py, line",
    "NeedsArguments-v0": "missing 1 required positional argument: 'stiffness'.*kwargs=",
    "NeedsRenderMode-v0": "missing 1 required positional argument: 'render_mode'.*kwargs=",
    "Nowhere-v0": "registered Gymnasium id",
    "PointMass": "version and all.* got 'odd_environments:PointMass'",
}
NOT_COMPRESSED = ("FactoredActions-v0", "BinaryActions-v0")
ONLY_COMPRESSED = ("DictObservations-v0", "PinnedAction-v0", "HugeActions-v0")
IN_THE_WORK = {
    "NanAtReset-v0": "not finite",
    "NanEarly-v0": "not finite",
    "Enormous-v0": "not finite",
    "WrongShape-v0": r"numbers of shape \(3,\).*returned shape \(4,\), at the reset of the episode with seed \d+",
    "Broadcast-v0": r"numbers of shape \(3,\).*returned shape \(\), at the reset",
    "WordObservations-v0": "numbers of shape .*left.* at the reset",
    "NoReward-v0": "the reward must be one number, but it returned None, in step 1 of the episode with seed",
    "TwoRewards-v0": "the reward must be one number, but it returned array.*, in step 1 of the episode with seed",
    "OldStep-v0": r"(got 4|of 4 values).* in step 1 of the episode with seed \d+",
    "OldReset-v0": r"reset must return \(observation, info\)",
    "Seedless-v0": "unexpected keyword argument 'seed'",
    "RaisesInStep-v0": r"ZeroDivisionError: the motor is gone .* in step 8 of the episode with seed \d+",
    "RaisesInReset-v0": "FileNotFoundError: track.csv is not there .* at the reset of the episode with seed",
}


def flag(name):
    return ["--env", f"odd_environments:{name}"] + (["--env.horizon", "50"] if name.startswith("Endless") else [])


def run(capsys, main, *arguments):
    """Run a command and return the folder in its last line."""
    main([str(argument) for argument in arguments])
    return Path(capsys.readouterr().out.strip().splitlines()[-1])


def plain_loop(name, act, seeds, horizon=50):
    """Play episodes as anyone would, with nothing of the package; return their returns, NaN for an invalid one."""
    env, returns = gymnasium.make(name, max_episode_steps=horizon, disable_env_checker=True), []
    box = env.action_space
    for seed in seeds:
        total, ended = 0.0, False
        observation = np.array(env.reset(seed=seed)[0], dtype=np.float64)
        while not ended and np.isfinite(observation).all():
            action = act(observation)
            if isinstance(box, gymnasium.spaces.Box):
                action = np.clip(action.astype(box.dtype), box.low, box.high)
            elif isinstance(box, gymnasium.spaces.Discrete):
                action = int(action[0])
            observation, reward, terminated, truncated, _ = env.step(action)
            observation = np.array(observation, dtype=np.float64)
            total += float(np.asarray(reward).reshape(()))
            ended = bool(terminated) or bool(truncated)
        returns.append(total if np.isfinite(observation).all() else math.nan)
    return np.array(returns)


def acting(policy):
    return lambda observation: policy.act(torch.from_numpy(observation.astype(np.float32))[None])[0].numpy()


FEW = ("PointMass-v0",)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in FEW else pytest.mark.slow) for name in RIGHT])
def test_every_command_gives_what_a_plain_loop_gives(name, tmp_path, capsys):
    logs = ["--logs", tmp_path]
    pool = run(capsys, collect.main, *flag(name), *logs, *RANDOM)
    states = np.load(pool / "states.npy")
    assert len(np.unique(states, axis=0)) > 0.8 * len(states) and np.isfinite(states).all()
    if name == "EndsAtOnce-v0":
        with pytest.raises(UserError, match="do episodes end at once"):
            collect.main([*flag(name), "--logs", str(tmp_path), *GROWN])
    elif RIGHT.index(name) % 3 == 0 and name != "IntegerObservations-v0":  # which moves in a corner of its box
        grown = run(capsys, collect.main, *flag(name), *logs, *GROWN)
        assert np.isfinite(np.load(grown / "outcomes.npy")).all()
    summary = fit.main([*flag(name), "--logs", str(tmp_path), *FIT, "--data.pool", str(pool)]).summary
    checkpoint = ["--checkpoint", summary["checkpoint"]]
    assert math.isfinite(summary["val_fvu"])

    folder = run(capsys, evaluate.main, *checkpoint, *logs, *EVALUATE)
    measured = json.loads((folder / "summary.json").read_text())
    champion = load_policy(folder / "best_in_pool" / "standard.npz")
    expected = plain_loop(name, acting(champion), range(TEST_SEEDS, TEST_SEEDS + 2))
    assert measured["standard/best_in_pool_fresh"] == pytest.approx(expected.mean(), rel=1e-4, abs=1e-4)

    # Three ways to play an episode: by weights, with noise, and through Stable-Baselines3; the others take turns.
    other = ("gradient", "td3", "random_latent")[RIGHT.index(name) % 3]
    for algorithm in ("pgpe", "ppo" if name == "DiscreteActions-v0" else other):
        more = LEARNER if algorithm == "td3" else []
        folder = run(capsys, finetune.main, *checkpoint, *logs, "--algorithm", algorithm, *FINETUNE, *more)
        told = json.loads((folder / "summary.json").read_text())["standard/return"]
        expected = plain_loop(
            name, acting(load_policy(folder / "policy.npz")), range(TEST_SEEDS, TEST_SEEDS + 2)
        ).mean()
        assert told == pytest.approx(expected, rel=1e-4, abs=1e-4) if math.isfinite(expected) else told is None, (
            algorithm
        )
    run(capsys, report.main, tmp_path / "finetune", "--draws", "100")
    assert "nan" not in (tmp_path / "report").rglob("report.md").__next__().read_text().split()

    if name in NOT_COMPRESSED:
        with pytest.raises(UserError, match="expects discrete actions that begin at 0"):
            compress.main([*flag(name), "--logs", str(tmp_path), *TRAIN])
        return
    # Compressing has two ways of its own, which take turns as well.
    if RIGHT.index(name) % 2:
        folder = run(capsys, compress.main, *flag(name), *logs, *TRAIN)
        assert math.isfinite(json.loads((folder / "summary.json").read_text())["return"])
        return
    (best,) = folder.parent.glob("pgpe-*/policy.npz")
    folder = run(capsys, compress.main, *flag(name), *logs, "--policy", best, *DISTILL)
    told = json.loads((folder / "summary.json").read_text())
    expected = plain_loop(name, acting(load_policy(best)), range(RETURN_SEEDS, RETURN_SEEDS + 2)).mean()
    assert told["return_dense"] == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", BEFORE_THE_WORK)
def test_what_cannot_be_used_is_refused_before_the_work(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for main, more in ((collect.main, RANDOM), (collect.main, GROWN), (fit.main, FIT)):
        with pytest.raises(UserError, match=f"(?s){BEFORE_THE_WORK[name]}") as told:
            main([*flag(name), *more])
        assert "\n" not in str(told.value)
    if name not in ONLY_COMPRESSED:
        with pytest.raises(UserError, match=r"odd_environments:|registered"):
            compress.main([*flag(name), *TRAIN])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ONLY_COMPRESSED)
def test_compress_takes_what_a_clipped_or_choosing_policy_can(name, tmp_path, capsys):
    folder = run(capsys, compress.main, *flag(name), "--logs", tmp_path, *TRAIN)
    assert math.isfinite(json.loads((folder / "summary.json").read_text())["return"])


@pytest.mark.parametrize("name", IN_THE_WORK)
def test_what_breaks_in_the_work_is_told_in_one_sentence(name, tmp_path):
    logs = ["--logs", str(tmp_path)]
    for main, more in ((collect.main, RANDOM), (collect.main, GROWN), (fit.main, FIT), (compress.main, TRAIN)):
        with pytest.raises(UserError, match=IN_THE_WORK[name]) as told:
            main([*flag(name), *logs, *more])
        assert f"odd_environments:{name}" in str(told.value) and "\n" not in str(told.value)
    assert not list(tmp_path.rglob("pool.json")) and not list(tmp_path.rglob("summary.json"))


@pytest.mark.slow
def test_rewards_that_are_never_finite_end_every_search_with_a_sentence(tmp_path, capsys):
    """The pool needs no reward, so it is made; whatever asks for one says so, and ends."""
    logs, name = ["--logs", tmp_path], "NanReward-v0"
    pool = run(capsys, collect.main, *flag(name), *logs, *RANDOM)
    run(capsys, collect.main, *flag(name), *logs, *GROWN)
    summary = fit.main([*flag(name), "--logs", str(tmp_path), *FIT, "--data.pool", str(pool)]).summary
    checkpoint = ["--checkpoint", summary["checkpoint"], "--logs", str(tmp_path)]
    with pytest.raises(UserError, match="stayed finite"):
        evaluate.main([*checkpoint, *EVALUATE])
    for algorithm in ("pgpe", "cmaes", "random_latent", "gradient", "parameter_pgpe", "ppo", "td3"):
        more = LEARNER if algorithm == "td3" else []
        with pytest.raises(UserError, match="finite"):
            finetune.main([*checkpoint, "--algorithm", algorithm, *FINETUNE, *more])
    with pytest.raises(UserError, match="finished runs"):
        report.main([str(tmp_path / "finetune")])
    with pytest.raises(UserError, match="finite"):
        compress.main([*flag(name), "--logs", str(tmp_path), *TRAIN])


@pytest.mark.parametrize(
    "name", ["OwnBuffer-v0", "OwnTruncation-v0", "EndsByState-v0", "NanLate-v0", "NanRewardSometimes-v0"]
)
def test_all_loops_agree_on_what_an_episode_is(name):
    """Returns, lengths and validity; the growth, which sees no reward, agrees on all but rewards that are no numbers."""
    spec = env_spec(f"odd_environments:{name}")
    network, seeds = network_of(spec), list(range(6))
    params = draw_params(Prior(), network.layout, 3, range(6)) * 3
    params[:, -2:] += torch.tensor([1.0, 0.5])  # to the right, where things go wrong
    one_each = [
        rollout(network, params[i : i + 1], spec, [seed], {"standard": standard}) for i, seed in enumerate(seeds)
    ]
    valid = np.array([played.valid[0, 0] for played in one_each])
    lengths = np.array([played.lengths[0, 0] for played in one_each])
    returns = np.array([played.returns["standard"][0, 0] for played in one_each])
    assert valid.sum() > 0 and (valid.all() or name.startswith("Nan"))

    def act(observations, active):
        return np.stack([acting(SavedPolicy.of(network, params[i]))(observations[i]) for i in active])

    explored = record_episodes(act, make_simulator(spec, 6), seeds, standard, spec.horizon)
    assert explored.valid.tolist() == valid.tolist() and explored.lengths.tolist() == lengths.tolist()
    np.testing.assert_allclose(explored.returns(), returns, rtol=1e-4)
    ends = play_episodes(BatchForward(network, params), make_simulator(spec, 6), seeds, spec.horizon)
    if name != "NanRewardSometimes-v0":
        assert ends.valid.tolist() == valid.tolist() and ends.lengths.tolist() == lengths.tolist()
    expected = [plain_loop(name, acting(SavedPolicy.of(network, params[i])), [i])[0] for i in seeds]
    np.testing.assert_allclose(returns, expected, rtol=1e-4)
