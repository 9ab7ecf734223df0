"""What decides a result is in its name, a number means what it says, and what cannot be right is told."""

import dataclasses
import json
import pickle
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from lightning_pz import compress, compressing
from lightning_pz.compression import distill as distilling
from lightning_pz.compression import train as training
from lightning_pz.compression.compressor import Compressor
from lightning_pz.compression.files import read_network
from lightning_pz.compression.low_rank import truncate
from lightning_pz.compression.network import Standardize, ToBox, outputs
from lightning_pz.compression.schedule import Ramp
from lightning_pz.compression.settings import CompressSettings, DistillSettings, LowRankSettings
from lightning_pz.compression.sizes import paper_ratio, sparsity
from lightning_pz.compression.sources import check_fits, open_policy
from lightning_pz.compression.stack import layers_of
from lightning_pz.compression.train import train
from lightning_pz.compression.world_env import make_world_env
from lightning_pz.compression.worlds import find_world, play
from lightning_pz.errors import UserError
from lightning_pz.presets import short_name

TINY = [
    "--distill.steps", "60", "--distill.episodes", "1", "--distill.held_out", "1", "--distill.rounds", "1",
    "--distill.batch_size", "32", "--episodes", "2", "--progress", "false",
]  # fmt: skip
PPO_TINY = {"ppo": {"n_steps": 32, "batch_size": 32, "n_epochs": 1, "policy_kwargs": {"net_arch": [16, 16]}}}


def run(capsys, *arguments) -> tuple[Path, dict]:
    """Run the command; return its folder and its summary, which must be JSON to the letter."""
    compress.main([*map(str, arguments), *TINY])
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return folder, json.loads((folder / "summary.json").read_text(), parse_constant=refuse)


def test_the_papers_ratio_of_a_factorized_layer_counts_the_weights_that_it_had():
    dense = nn.Sequential(nn.Linear(256, 256, bias=False), nn.ReLU(), nn.Linear(256, 8, bias=False))
    left, right = truncate(dense[0].weight, 16)
    final = nn.Sequential(
        nn.Linear(256, 16, bias=False), nn.Linear(16, 256, bias=False), nn.ReLU(), nn.Linear(256, 8, bias=False)
    )
    with torch.no_grad():
        for layer, weight in zip(layers_of(final).values(), (right, left, dense[2].weight), strict=True):
            layer.weight.copy_(weight)
    weights, survive = 256 * 256 + 8 * 256, 2 * 16 * 256 + 8 * 256
    assert (weights, survive) == (67_584, 10_240)
    assert paper_ratio(dense, final, 32) == pytest.approx(weights / survive)
    assert paper_ratio(dense, final, 8) == pytest.approx(4 * weights / survive)


def test_a_factorized_layer_is_not_called_sparse():
    torch.manual_seed(0)
    settings = CompressSettings(
        method="prune+low_rank", steps=10, sparsity=0.3, ramp=Ramp(0.1, 0.5, 2), low_rank=LowRankSettings(rank=1)
    )
    compressor = Compressor(nn.Sequential(nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 20)), settings, 0.01)
    compressor.advance(10)
    assert any(stack.factors is not None for stack in compressor.stacks.values())
    assert compressor.scalars()["sparsity"] == pytest.approx(sparsity(compressor.finished()[0]))


@pytest.mark.parametrize("horizon", [8, 70])
def test_the_horizon_holds_in_training_and_in_play_below_and_above_the_environments_own(horizon, point_mass, tmp_path):
    world = find_world(point_mass(limit=50), horizon)
    network = nn.Sequential(nn.Linear(3, 2), ToBox(-torch.ones(2), torch.ones(2), "tanh"))
    assert play(network, world, [1, 2]).lengths.tolist() == [horizon, horizon]
    done = train(world, CompressSettings(algorithm="ppo", method="none", steps=200, model=PPO_TINY), tmp_path)
    lengths = [episode["l"] for episode in done.model.ep_info_buffer]
    assert len(lengths) >= 200 // horizon and set(lengths) == {horizon}


def test_without_a_horizon_the_environments_own_holds_or_the_one_that_all_commands_have(point_mass):
    assert find_world(point_mass(limit=50)).horizon == 50
    assert find_world(point_mass(limit=None)).horizon == 1000


@pytest.mark.parametrize("horizon", [0, -5])
def test_a_horizon_of_no_step_is_refused(horizon, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"--env.horizon expects at least 1.* but got {horizon}"):
        compress.main(["--env", "cartpole", "--env.horizon", str(horizon)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", [0, 100, 200, 5_000_000, 6_000_000])
def test_no_episode_that_trains_is_one_that_judges(seed, point_mass, tmp_path, monkeypatch):
    played = []

    def recorded(network, world, seeds, *, keep=False):
        played.append(list(seeds))
        return play(network, world, seeds, keep=keep)

    monkeypatch.setattr(distilling, "play", recorded)
    world = find_world(point_mass(), 5)
    options = DistillSettings(steps=40, batch_size=8, episodes=3, held_out=4, rounds=12)
    settings = CompressSettings(policy="x.npz", method="none", seed=seed, distill=options)
    network = nn.Sequential(nn.Linear(3, 2), ToBox(-torch.ones(2), torch.ones(2), "tanh"))
    distilling.distill(network, world, settings, lambda values, step: None)
    visits, held_out = [played[0], *played[2:]], played[1]
    assert [len(seeds) for seeds in played] == [3, 4, *[3] * 12]
    trained = {one for seeds in visits for one in seeds}
    assert len(trained) == 13 * 3
    monkeypatch.undo()

    reset = []
    make = training.make_world_env

    def spied(*arguments, **more):
        env = make(*arguments, **more)
        begin = env.reset
        env.reset = lambda **given: reset.append(given.get("seed")) or begin(**given)
        return env

    monkeypatch.setattr(training, "make_world_env", spied)
    model = {"ppo": PPO_TINY["ppo"] | {"n_envs": 2}}
    train(world, CompressSettings(algorithm="ppo", method="none", seed=seed, steps=100, model=model), tmp_path)
    trained |= set(reset) - {None}
    assert len(set(reset) - {None}) == 2
    # Searches and evaluations begin at these as well; see lightning_pz.search.objective and lightning_pz.evaluation.
    judged = {*held_out, *range(6_000_000, 6_000_100), *range(1_000_000, 1_000_100)}
    judged |= {*range(10_000_000, 10_000_100), *range(20_000_000, 20_000_100)}
    assert not trained & judged and not set(held_out) & set(range(6_000_000, 6_000_100))


@pytest.mark.parametrize("end", [0.7, 1.0])
def test_ranks_are_chosen_on_what_the_policy_saw(end, tmp_path, monkeypatch):
    given = []

    class Spy(Compressor):
        def __init__(self, network, settings, rate, states):
            super().__init__(network, settings, rate, lambda: given.append(states()) or given[-1])

    monkeypatch.setattr(training, "Compressor", Spy)
    settings = CompressSettings(
        algorithm="ppo", method="low_rank", steps=200, model=PPO_TINY, ramp=Ramp(0.2, end, 5),
        low_rank=LowRankSettings(error=0.01),
    )  # fmt: skip
    done = train(find_world("CartPole-v1"), settings, tmp_path)
    assert done.compressor.settled
    # One row for every step so far, and each is a state of the cart: none has no pole.
    settled = done.env_steps if end == 1 else 140
    assert {states.shape for states in given} <= {(settled, 4), (200, 4)}
    assert all((states != 0).all() for states in given)


def test_an_atari_id_of_another_kind_is_the_same_game():
    one, other = (make_world_env(name, reward_clip=False, horizon=40) for name in ("ALE/Pong-v5", "PongNoFrameskip-v4"))
    seen = [env.reset(seed=3)[0] for env in (one, other)]
    assert np.array_equal(*seen)
    actions = np.random.default_rng(0).integers(0, 6, 30)
    for action in actions:
        before = one.unwrapped.ale.getEpisodeFrameNumber()
        (a, b), (x, y) = zip(*((env.step(int(action))[:2]) for env in (one, other)), strict=True)
        assert np.array_equal(a, b) and x == y
        assert one.unwrapped.ale.getEpisodeFrameNumber() - before == 4
    assert one.unwrapped.ale.getFloat("repeat_action_probability") == 0


@pytest.mark.parametrize("method", ["int8", "prune+int8", "l0+int8", "low_rank+int8", "l0+low_rank+int8"])
def test_rounded_activations_end_in_a_whole_run(method, write_policy, point_mass, tmp_path, capsys):
    rounding = ["--activations", "true", "--method", method, "--sparsity", "0.5", "--low_rank.rank", "1"]
    folder, summary = run(
        capsys, "--env", point_mass(limit=10), "--policy", write_policy(), *rounding, "--logs", tmp_path / "logs"
    )
    network, _ = read_network(folder / "policy.lpz")
    kinds = [type(module).__name__ for module in network.modules()]
    assert kinds.count("ActivationInt8") == 2 and summary["return"] is not None
    dense, _ = read_network(folder / "formats" / "float32.lpz")
    assert {key[9:] for key in summary if key.startswith("sparsity/")} == layers_of(dense).keys()
    assert (folder / "figures" / "trade_off.png").is_file()


def test_a_figure_that_fails_costs_no_run(write_policy, point_mass, tmp_path, capsys, monkeypatch):
    command = [
        "--env",
        point_mass(limit=10),
        "--policy",
        write_policy(),
        "--method",
        "int8",
        "--logs",
        tmp_path / "logs",
    ]
    monkeypatch.setattr(compressing.figures, "bytes_by_format", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(capsys, *command)
    monkeypatch.undo()
    monkeypatch.setattr(compressing, "distill", lambda *_, **__: pytest.fail("repeated"))
    folder, _ = run(capsys, *command)
    assert {path.name for path in (folder / "figures").iterdir()} == {"bytes.png", "sparsity.png", "trade_off.png"}


def test_a_module_in_front_of_an_id_registers_it(write_policy, point_mass, tmp_path, capsys):
    name = point_mass(limit=10)
    assert name.partition(":")[2] not in gymnasium.registry
    folder, summary = run(
        capsys, "--env", name, "--policy", write_policy(), "--method", "int8", "--logs", tmp_path / "l"
    )
    assert summary["env"] == name and folder.parent.name == short_name(name)
    folder, summary = run(
        capsys, "--env", name, "--algorithm", "ppo", "--method", "none", "--steps", 32, "--model", json.dumps(PPO_TINY),
        "--logs", tmp_path / "l",
    )  # fmt: skip
    assert summary["env_steps"] == 32
    with pytest.raises(UserError, match="no_such_module_here"):
        compress.main(["--env", "no_such_module_here:X-v0", "--logs", str(tmp_path / "l")])


def test_a_policy_for_another_action_box_is_refused(write_policy, point_mass, tmp_path, capsys):
    name, policy = point_mass(high=2.0), write_policy()
    with pytest.raises(UserError, match=r"made for actions from \[-1.0, -1.0\] to \[1.0, 1.0\].*takes them from .*2.0"):
        run(capsys, "--env", name, "--policy", policy, "--logs", tmp_path / "logs")
    assert not (tmp_path / "logs").exists()
    discrete = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(UserError, match=r"made for discrete actions, but .* has a box of actions"):
        check_fits(discrete, find_world(name), "x.zip")
    fitting = nn.Sequential(nn.Linear(4, 2), ToBox(-torch.ones(2), torch.ones(2), "tanh"))
    with pytest.raises(UserError, match="made for a box of actions, but CartPole-v1 has discrete actions"):
        check_fits(fitting, find_world("CartPole-v1"), "x.zip")


@pytest.mark.parametrize(
    "seen, acts, sentence",
    [
        (gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(2, start=1), "discrete actions that begin at 0"),
        (gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Box(0, 5, (2,), np.int32), "a finite box of real ones"),
        (gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Box(-np.inf, np.inf, (2,)), "a finite box of real ones"),
        (gymnasium.spaces.Discrete(5), gymnasium.spaces.Discrete(2), "vectors or images to look at"),
        (
            gymnasium.spaces.Box(0, 255, (40, 40, 1), np.uint8),
            gymnasium.spaces.Discrete(2),
            r"\(height, width, 3\) in bytes",
        ),
        (gymnasium.spaces.Box(0, 1, (3, 40, 40)), gymnasium.spaces.Discrete(2), r"\(height, width, 3\) in bytes"),
    ],
)
def test_spaces_that_no_policy_here_fits(seen, acts, sentence, monkeypatch):
    class Odd(gymnasium.Env):
        observation_space, action_space = seen, acts

    monkeypatch.setitem(gymnasium.registry, "Odd-v0", gymnasium.envs.registration.EnvSpec("Odd-v0", entry_point=Odd))
    with pytest.raises(UserError, match=sentence):
        find_world("Odd-v0")


def test_first_observations_of_whole_numbers_do_not_cut_the_others(monkeypatch):
    class Counting(gymnasium.Env):
        observation_space, action_space = gymnasium.spaces.Box(-9, 9, (1,)), gymnasium.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return np.zeros(1, dtype=np.int64), {}

        def step(self, action):
            return np.array([0.5]), np.array([1]), False, False, {}

    spec = gymnasium.envs.registration.EnvSpec("Counting-v0", entry_point=Counting)
    monkeypatch.setitem(gymnasium.registry, "Counting-v0", spec)
    played = play(nn.Linear(1, 2), find_world("Counting-v0", 3), [0], keep=True)
    assert played.observations.tolist() == [[0], [0.5], [0.5]] and played.returns.tolist() == [3]


@pytest.fixture
def normalized(point_mass, tmp_path):
    """Return id, model, statistics and where the two are kept, of a training under VecNormalize."""
    name = point_mass(limit=20)
    find_world(name)  # imports the module
    env = VecNormalize(DummyVecEnv([lambda: gymnasium.make(name, disable_env_checker=True)]), clip_obs=0.5)
    model = PPO("MlpPolicy", env, seed=0, device="cpu", **PPO_TINY["ppo"])
    model.learn(64)
    folder = tmp_path / "zoo" / name.partition(":")[2]
    folder.mkdir(parents=True)
    model.save(folder.parent / "best_model.zip")
    env.save(str(folder / "vecnormalize.pkl"))
    return name, model, env, folder.parent / "best_model.zip", folder / "vecnormalize.pkl"


def test_statistics_of_a_normalized_policy_become_its_first_layers(normalized, tmp_path, capsys):
    name, model, env, path, statistics = normalized
    states = np.random.default_rng(0).normal(0, 3, size=(50, 3)).astype(np.float32)
    wanted = model.predict(env.normalize_obs(states), deterministic=True)[0]
    assert (np.abs(env.normalize_obs(states)) == 0.5).any()  # the clip is at work
    world = find_world(name)
    raw = torch.from_numpy(states)
    assert outputs(open_policy(str(path), world, str(statistics)), raw).numpy() == pytest.approx(wanted, abs=1e-5)
    assert "VecNormalize" not in capsys.readouterr().err
    other = outputs(open_policy(str(path), world), raw).numpy()
    assert np.abs(other - wanted).max() > 1e-3
    told = capsys.readouterr().err
    assert told.startswith("warning: ") and "--normalization" in told and str(statistics) in told

    command = ["--env", name, "--policy", path, "--method", "int8", "--logs", tmp_path / "logs"]
    folder, summary = run(capsys, *command, "--normalization", statistics)
    dense, _ = read_network(folder / "formats" / "float32.lpz")
    assert outputs(dense, raw).numpy() == pytest.approx(wanted, abs=1e-5)
    assert summary["normalization"] == str(statistics) and summary["bytes_onnx"] > 0
    # The same file with other numbers in it is another run.
    env.obs_rms.mean[:] += 1
    env.save(str(statistics))
    assert run(capsys, *command, "--normalization", statistics)[0] != folder


@pytest.mark.parametrize("kind, more", [(PPO, {"n_steps": 32}), (SAC, {"learning_starts": 5, "buffer_size": 50})])
@pytest.mark.parametrize("name", ["Pendulum-v1", "InvertedPendulum-v5", "MountainCarContinuous-v0"])
def test_only_what_was_normalized_is_called_so(kind, more, name, tmp_path, capsys):
    arch = {"policy_kwargs": {"net_arch": [8]}, "device": "cpu", "batch_size": 16}
    world, path, told = find_world(name), tmp_path / "model.zip", []
    for wrap in (lambda env: env, VecNormalize):
        env = wrap(DummyVecEnv([lambda: gymnasium.make(name)]))
        env.seed(0)
        model = kind("MlpPolicy", env, seed=0, **more, **arch)
        model.learn(40)
        model.save(path)
        open_policy(str(path), world)
        told.append(capsys.readouterr().err)
    assert told[0] == ""
    assert told[1].startswith(f"warning: {path} was trained under VecNormalize")


def test_where_a_zip_does_not_tell_statistics_beside_it_do(point_mass, tmp_path, capsys):
    name = point_mass()  # float32 in an infinite box
    world, path = find_world(name), tmp_path / "model.zip"
    env = DummyVecEnv([lambda: gymnasium.make(name, disable_env_checker=True)])
    model = SAC("MlpPolicy", env, device="cpu", buffer_size=50, learning_starts=99, policy_kwargs={"net_arch": [8]})
    model.learn(20)
    model.save(path)
    open_policy(str(path), world)
    assert not capsys.readouterr().err
    (tmp_path / "model_vecnormalize.pkl").touch()
    open_policy(str(path), world)
    assert "model_vecnormalize.pkl" in capsys.readouterr().err


def test_statistics_that_do_not_fit(normalized, write_policy, tmp_path):
    name, _, env, path, statistics = normalized
    world = find_world(name)
    with pytest.raises(UserError, match="statistics of 3 numbers, but observations have 4"):
        open_policy(str(path), dataclasses.replace(world, shape=(4,)), str(statistics))
    env.norm_obs = False
    env.save(str(statistics))
    with pytest.raises(UserError, match="did not normalize observations"):
        open_policy(str(path), world, str(statistics))
    statistics.write_bytes(pickle.dumps({"mean": 0}))
    with pytest.raises(UserError, match="holds a dict"):
        open_policy(str(path), world, str(statistics))
    statistics.write_bytes(b"no pickle")
    with pytest.raises(UserError, match="cannot be opened"):
        open_policy(str(path), world, str(statistics))
    for arguments, sentence in (
        (["--policy", write_policy(), "--normalization", statistics], "goes with a Stable-Baselines3 zip"),
        (["--normalization", statistics], "goes with a Stable-Baselines3 zip"),
        (["--policy", path, "--normalization", tmp_path / "none.pkl"], "there is none at"),
        (["--policy", path, "--reference", path], "drop one"),
    ):
        with pytest.raises(UserError, match=sentence):
            compress.main(["--env", name, *map(str, arguments)])


def test_parts_of_a_dictionary_are_normalized_in_the_policys_order(normalized):
    from lightning_pz.compression.normalization import with_statistics

    statistics = normalized[-1]
    space = gymnasium.spaces.Dict(
        {key: gymnasium.spaces.Box(-9, 9, (size,), np.float32) for key, size in (("a", 1), ("b", 2))}
    )

    class Two(gymnasium.Env):
        observation_space, action_space = space, gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    wrapped = VecNormalize(DummyVecEnv([Two]), norm_obs_keys=["b"], clip_obs=2.0)
    wrapped.obs_rms["b"].mean[:], wrapped.obs_rms["b"].var[:] = [1.0, -1.0], [4.0, 0.25]
    wrapped.save(str(statistics))
    given = {"a": np.array([[7.0]], dtype=np.float32), "b": np.array([[2.0, 5.0]], dtype=np.float32)}
    wanted = wrapped.normalize_obs(given)
    got = with_statistics(nn.Sequential(nn.Identity()), statistics, 3)(torch.tensor([[7.0, 2.0, 5.0]]))
    assert got[0].tolist() == pytest.approx([*wanted["a"][0], *wanted["b"][0]], abs=1e-5)
    assert wanted["b"][0].tolist() == pytest.approx([0.5, 2.0], abs=1e-5)


def test_a_model_that_acts_otherwise_than_its_layers_is_refused(normalized, monkeypatch):
    name, *_, path, _ = normalized
    monkeypatch.setattr(
        "lightning_pz.compression.sources.network_of",
        lambda model: nn.Sequential(Standardize(torch.zeros(3), torch.ones(3)), nn.Linear(3, 2)),
    )
    with pytest.raises(UserError, match="acts otherwise than the layers"):
        open_policy(str(path), find_world(name))


def test_ppo_that_squashes_its_actions_is_read_off_right(point_mass, tmp_path):
    name = point_mass(low=-1.0, high=3.0)
    find_world(name)
    kwargs = {"policy_kwargs": {"squash_output": True, "net_arch": [16]}, "use_sde": True}
    model = PPO(
        "MlpPolicy", gymnasium.make(name, disable_env_checker=True), device="cpu", n_steps=32, batch_size=32, **kwargs
    )
    model.save(tmp_path / "x.zip")
    states = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    got = outputs(open_policy(str(tmp_path / "x.zip"), find_world(name)), torch.from_numpy(states)).numpy()
    assert got == pytest.approx(model.predict(states, deterministic=True)[0], abs=1e-5)


def test_what_is_not_finite_is_told_with_seed_and_step(write_policy, point_mass, tmp_path, capsys):
    name = point_mass(limit=10, bad_at=4)
    with pytest.raises(UserError, match=r"PointMass\d+-v0 .*reward.* not finite, in step 4 .*seed \d+"):
        run(capsys, "--env", name, "--policy", write_policy(), "--logs", tmp_path / "logs")
    with pytest.raises(UserError, match="not finite, in step 4"):
        train(
            find_world(name), CompressSettings(algorithm="ppo", method="none", steps=64, model=PPO_TINY), tmp_path / "x"
        )


def test_a_broken_or_endless_run_beside_this_one_stops_nothing(write_policy, point_mass, tmp_path, capsys):
    command = [
        "--env",
        point_mass(limit=10),
        "--policy",
        write_policy(),
        "--method",
        "int8",
        "--logs",
        tmp_path / "logs",
    ]
    folder, summary = run(capsys, *command)
    for name, text in (
        ("torn", "{"), ("empty", "{}"), ("none", json.dumps(summary | {"return": None, "return_low": None})),
        ("nan", json.dumps(summary | {"return": float("nan")})),
        ("dense", json.dumps(summary | {"return_dense_low": None, "return_dense_high": None})),
    ):  # fmt: skip
        (folder.parent / name).mkdir()
        (folder.parent / name / "summary.json").write_text(text)
    assert run(capsys, *command, "--seed", "1")[0].name.endswith("seed1")


def test_other_content_under_the_same_name_is_another_run(write_policy, point_mass, tmp_path, capsys):
    name, policy = point_mass(limit=10), write_policy()

    def known(horizon=None, path=policy, **more):
        return compressing.identity(find_world(name, horizon), CompressSettings(policy=str(path), **more))

    found = [known(), known(seed=1), known(horizon=9)]
    copy = tmp_path / "copy.npz"
    copy.write_bytes(policy.read_bytes())
    assert known(path=copy) == known(horizon=10) == found[0]
    point_mass(limit=10, bad_at=99)
    found.append(known())
    for edited in ({"limit": 12}, {"limit": 10, "high": 1.5}):
        point_mass(**edited)
        found.append(known())
    assert all(one != other for i, one in enumerate(found) for other in found[:i])

    point_mass(limit=10)
    command = ["--env", name, "--policy", policy, "--method", "int8", "--logs", tmp_path / "logs"]
    folder = run(capsys, *command)[0]
    assert run(capsys, *command)[0] == folder
    write_policy(seed=1)
    assert run(capsys, *command)[0] != folder


def test_a_class_of_ones_own_counts_by_its_source(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    world, settings = find_world("CartPole-v1"), []
    for text in ("class Extra:\n    size = 1\n", "class Extra:\n    size = 2\n"):
        (tmp_path / "extra_of_mine.py").write_text(text)
        model = {"ppo": {"policy_kwargs": {"features_extractor_class": "extra_of_mine.Extra"}}}
        settings.append(compressing.identity(world, CompressSettings(algorithm="ppo", model=model)))
    assert settings[0] != settings[1] and settings[0]["settings"] == settings[1]["settings"]
    model = {"ppo": {"policy_kwargs": {"activation_fn": "torch.nn.Nope"}}}
    with pytest.raises(UserError, match=r"--model.ppo.policy_kwargs.activation_fn expects a class"):
        compressing.identity(world, CompressSettings(algorithm="ppo", model=model))
