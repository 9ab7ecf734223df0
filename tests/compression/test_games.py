"""Short but real trainings where optional games and robots are installed; each is skipped where they are not."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN

from lightning_pz import compress
from lightning_pz.compression.environments import find_world
from lightning_pz.compression.formats.network_file import read_network
from lightning_pz.compression.make_environment import make_world_env
from lightning_pz.compression.measures import outputs, sparsity
from lightning_pz.compression.methods.stack import layers_of
from lightning_pz.compression.surrol import present_spelling
from lightning_pz.compression.training.sb3_networks import network_of


@pytest.mark.slow
def test_dqn_on_pong(tmp_path, capsys):
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    config = {
        "steps": 400, "sparsity": 0.9, "episodes": 2, "env": {"name": "pong", "id": "PongNoFrameskip-v4", "horizon": 60},
        "method": "prune+int8", "algorithm": "dqn", "logs": str(tmp_path), "progress": False,
        "ramp": {"events": 10}, "model": {"dqn": {"buffer_size": 700, "learning_starts": 100, "batch_size": 8, "train_freq": 8, "target_update_interval": 80}},
    }  # fmt: skip
    path = tmp_path / "settings.yaml"
    path.write_text(json.dumps(config))
    compress.main(["--config", str(path)])
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    summary = json.loads((folder / "summary.json").read_text())
    network, _ = read_network(folder / "policy.lpz")
    shapes = [tuple(layer.weight.shape) for layer in layers_of(network).values()]
    assert shapes == [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), (512, 3136), (6, 512)]
    assert summary["sparsity"] == pytest.approx(0.9, abs=1e-3) and 520 <= summary["env_steps"] < 530
    assert summary["file_ratio"] > 15
    model = DQN.load(folder / "model.zip", custom_objects={"buffer_size": 1}, device="cpu")
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 4, 84, 84), dtype=np.uint8))
    with torch.no_grad():
        online, target = model.policy.q_net(images), model.policy.q_net_target(images)
    assert torch.allclose(outputs(network, images.float()), online, atol=1e-5)
    # The target was last copied at step 480, when all was pruned and rounded; it is a network that works.
    assert torch.isfinite(target).all() and not torch.equal(online, target)
    model.policy.q_net.load_state_dict(model.policy.q_net_target.state_dict())
    assert sparsity(network_of(model)) == pytest.approx(0.9, abs=1e-3)


def test_mario_steps():
    pytest.importorskip("gymnasium_mariobros")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        world = find_world("SuperMarioBros-7-1-v3")
        env = make_world_env(world.id, reward_clip=False)
        observation, _ = env.reset(seed=0)
        later = env.step(1)[0]
        env.close()
    assert world.shape == observation.shape == later.shape == (4, 84, 84) and world.actions == 7


def test_old_spellings_become_new_ones():
    old = (
        "import gym\nfrom gym import spaces\nfrom gym.utils import seeding\nx = np.array(y).astype(np.float).ravel()\n"
        "z = self.limits[0, :].mean() - 0.1 * self.limits[0, :].ptp()\nimport gymnasium\nk = np.float32(1)\n"
    )
    assert present_spelling(old) == (
        "import gymnasium as gym\nfrom gymnasium import spaces\nfrom gymnasium.utils import seeding\n"
        "x = np.array(y).astype(float).ravel()\n"
        "z = self.limits[0, :].mean() - 0.1 * np.ptp(self.limits[0, :])\nimport gymnasium\nk = np.float32(1)\n"
    )


def test_surgical_tasks_are_goal_environments():
    pytest.importorskip("surrol")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        world = find_world("surrol/ECMReach-v0")
        env = make_world_env(world.id, reward_clip=False, flatten=False)
        first, _ = env.reset(seed=3)
        state = np.random.get_state()[1].copy()
        observation, reward, *_ = env.step(np.ones(3, dtype=np.float32))
        assert reward == env.unwrapped.compute_reward(observation["achieved_goal"], observation["desired_goal"], {})
        again, _ = env.reset(seed=3)
        env.close()
    assert all(np.array_equal(first[key], again[key]) for key in first) and observation in env.observation_space
    assert np.array_equal(np.random.get_state()[1], state)  # NumPy's global generator is left alone
    assert world.shape == (12,) and world.actions == 3
