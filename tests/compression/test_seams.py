"""All that decides a result is in its identity, numbers mean what they say, and impossible input is refused."""

import json

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from lightning_pz import compress
from lightning_pz.common.errors import UserError
from lightning_pz.compression import environments
from lightning_pz.compression.compressor import Compressor
from lightning_pz.compression.environments import find_world, play_world
from lightning_pz.compression.formats.network_file import read_network
from lightning_pz.compression.make_environment import make_world_env
from lightning_pz.compression.measures import paper_ratio, sparsity
from lightning_pz.compression.methods.low_rank import truncate
from lightning_pz.compression.methods.schedule import Ramp
from lightning_pz.compression.methods.stack import layers_of
from lightning_pz.compression.modules import ToBox
from lightning_pz.compression.open_policy import check_fits_world
from lightning_pz.compression.part_settings import DistillSettings, LowRankSettings
from lightning_pz.compression.settings import CompressSettings
from lightning_pz.compression.training import distill as distilling
from lightning_pz.compression.training import sb3_run as training
from lightning_pz.compression.training.sb3_run import train_sb3
from lightning_pz.envs.presets import short_name
from lightning_pz.jobs import compress as compressing
from tests.compression.conftest import PPO_TINY, run


def rounding(point_mass, write_policy, folder):
    """Return the arguments that round a policy on a point mass."""
    return ["--env", point_mass(limit=10), "--policy", write_policy(), "--method", "int8", "--logs", folder / "logs"]


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
    assert play_world(network, world, [1, 2]).lengths.tolist() == [horizon, horizon]
    done = train_sb3(world, CompressSettings(algorithm="ppo", method="none", steps=200, model=PPO_TINY), tmp_path)
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
        return play_world(network, world, seeds, keep=keep)

    monkeypatch.setattr(distilling, "play_world", recorded)
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
    make = environments.make_world_env

    def spied(*arguments, **more):
        env = make(*arguments, **more)
        begin = env.reset
        env.reset = lambda **given: reset.append(given.get("seed")) or begin(**given)
        return env

    monkeypatch.setattr(environments, "make_world_env", spied)
    model = {"ppo": PPO_TINY["ppo"] | {"n_envs": 2}}
    train_sb3(world, CompressSettings(algorithm="ppo", method="none", seed=seed, steps=100, model=model), tmp_path)
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
    done = train_sb3(find_world("CartPole-v1"), settings, tmp_path)
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


@pytest.mark.slow
@pytest.mark.parametrize("method", ["int8", "prune+int8", "l0+int8", "low_rank+int8", "l0+low_rank+int4"])
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
    command = rounding(point_mass, write_policy, tmp_path)
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
        check_fits_world(discrete, find_world(name), "x.zip")
    fitting = nn.Sequential(nn.Linear(4, 2), ToBox(-torch.ones(2), torch.ones(2), "tanh"))
    with pytest.raises(UserError, match="made for a box of actions, but CartPole-v1 has discrete actions"):
        check_fits_world(fitting, find_world("CartPole-v1"), "x.zip")


@pytest.mark.parametrize(
    "seen, acts, sentence",
    [
        (gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Discrete(2, start=1), "discrete actions that begin at 0"),
        (gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Box(0, 5, (2,), np.int32), "a finite box of real ones"),
        (gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Box(-np.inf, np.inf, (2,)), "a finite box of real ones"),
        (gymnasium.spaces.Discrete(5), gymnasium.spaces.Discrete(2), "observations that are vectors or images"),
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
    played = play_world(nn.Linear(1, 2), find_world("Counting-v0", 3), [0], keep=True)
    assert played.observations.tolist() == [[0], [0.5], [0.5]] and played.returns.tolist() == [3]


def test_a_number_that_is_not_finite_is_named_with_seed_and_step(write_policy, point_mass, tmp_path, capsys):
    name = point_mass(limit=10, bad_at=4)
    with pytest.raises(UserError, match=r"PointMass\d+-v0 .*reward.* not finite, in step 4 .*seed \d+"):
        run(capsys, "--env", name, "--policy", write_policy(), "--logs", tmp_path / "logs")
    with pytest.raises(UserError, match="not finite, in step 4"):
        train_sb3(
            find_world(name), CompressSettings(algorithm="ppo", method="none", steps=64, model=PPO_TINY), tmp_path / "x"
        )


def test_a_broken_or_endless_run_beside_this_one_stops_nothing(write_policy, point_mass, tmp_path, capsys):
    command = rounding(point_mass, write_policy, tmp_path)
    folder, summary = run(capsys, *command)
    for name, text in (
        ("torn", "{"), ("empty", "{}"), ("none", json.dumps(summary | {"return": None, "return_low": None})),
        ("nan", json.dumps(summary | {"return": float("nan")})),
        ("dense", json.dumps(summary | {"return_dense_low": None, "return_dense_high": None})),
    ):  # fmt: skip
        (folder.parent / name).mkdir()
        (folder.parent / name / "summary.json").write_text(text)
    assert run(capsys, *command, "--seed", "1")[0].name.endswith("seed1")
