"""`export`: what other tools make of our files by their own means, and we of theirs."""

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from lightning_pz import evaluate, export, load_autoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.envs.specs import env_spec
from lightning_pz.policy import Head, Layout
from lightning_pz.policy.saved import SavedPolicy, load_policy

KINDS = {
    "tanh": ("Hopper-v5", Head()),
    "gaussian": ("Hopper-v5", Head("gaussian", sample=True)),
    "categorical": ("Acrobot-v1", Head("categorical", (3,), temperature=0.2)),
    "clip": ("Hopper-v5", Head()),
    "binary": ("odd_environments:BinaryActions-v0", Head("categorical", (2, 2), temperature=0.5)),
}


def drawn(kind, hidden=(8, 5), activation="relu"):
    """Return an environment's id and a random policy for it, with statistics that standardize something."""
    env_id, head = KINDS[kind]
    spec = env_spec(env_id)
    layout = Layout(spec.observation_size, hidden, spec.action_size, activation, head)
    generator = torch.Generator().manual_seed(0)
    params = torch.randn(layout.num_params, generator=generator)
    mean, std = (
        torch.randn(spec.observation_size, generator=generator),
        torch.rand(spec.observation_size, generator=generator) + 0.5,
    )
    corners = [torch.tensor(corner) for corner in (spec.action_low, spec.action_high)]
    return env_id, SavedPolicy(layout, params, mean, std, *corners, squash="clip" if kind == "clip" else "tanh")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [(8, 5), ()])
def test_a_policy_goes_to_stable_baselines3_and_back(kind, hidden, tmp_path, capsys):
    env_id, policy = drawn(kind, hidden)
    policy.save(tmp_path / "policy.npz")
    export.main(["--policy", str(tmp_path / "policy.npz"), "--to", str(tmp_path / "model.zip"), "--env", env_id])
    name = re.search(r"sb3\.(\w+)\.load", capsys.readouterr().out).group(1)
    assert name == ("PPO" if kind in ("categorical", "clip", "binary") else "TD3")
    env = gymnasium.make(env_id)
    model = getattr(sb3, name).load(tmp_path / "model.zip", env=env, device="cpu")
    states = np.random.default_rng(1).normal(size=(200, policy.layout.observation_size)).astype(np.float32)
    wanted = policy.act(torch.from_numpy(states)).numpy()
    np.testing.assert_allclose(model.predict(states, deterministic=True)[0].reshape(wanted.shape), wanted, atol=1e-5)
    if kind == "categorical":  # with the probabilities of its choices
        given = model.policy.get_distribution(torch.from_numpy(states)).distribution.probs.detach()
        network, inputs = policy.network(), torch.from_numpy(states)
        roots = network.layout.head.features(_last(policy, inputs))
        torch.testing.assert_close(given, roots.square(), atol=1e-5, rtol=1e-4)
    words = ["--policy", str(tmp_path / "model.zip"), "--to", str(tmp_path / "back.npz")]
    if kind == "binary":
        with pytest.raises(UserError, match=r"gives MultiBinary\(2\), but a policy file holds actions of"):
            export.main(words)
        return
    export.main(words)
    back = load_policy(tmp_path / "back.npz")
    np.testing.assert_allclose(back.act(torch.from_numpy(states)).numpy(), wanted, atol=1e-5)
    env.close()


def _last(policy, states):
    x = (states - policy.observation_mean) / policy.observation_std
    return torch.nn.Sequential(*policy.layout.to_sequential(policy.params))(x)


def test_evaluate_policy_earns_what_a_plain_loop_earns(tmp_path):
    env_id, policy = drawn("categorical")
    policy.save(tmp_path / "policy.npz")
    export.main(["--policy", str(tmp_path / "policy.npz"), "--to", str(tmp_path / "model.zip"), "--env", "acrobot"])
    model = sb3.PPO.load(tmp_path / "model.zip", device="cpu")
    env = gymnasium.make(env_id, max_episode_steps=60)
    returns = []
    for seed in range(3):
        observation, total, over = env.reset(seed=seed)[0], 0.0, False
        while not over:
            observation, reward, ended, cut, _ = env.step(int(policy.act(torch.from_numpy(observation)[None])[0, 0]))
            total, over = total + float(reward), ended or cut
        returns.append(total)
    vec = DummyVecEnv([lambda: gymnasium.make(env_id, max_episode_steps=60)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it would rather have a Monitor
        found = []
        for seed in range(3):
            vec.seed(seed)
            found += evaluate_policy(model, vec, n_eval_episodes=1, return_episode_rewards=True)[0]
    assert found == returns
    env.close()


@pytest.mark.parametrize(
    ("name", "env_id"),
    [
        ("SAC", "Pendulum-v1"),
        ("TQC", "Pendulum-v1"),
        ("TD3", "Pendulum-v1"),
        ("PPO", "Pendulum-v1"),
        ("DQN", "CartPole-v1"),
    ],
)
@pytest.mark.parametrize("normalized", [False, True])
def test_their_policies_act_here_as_there(name, env_id, normalized, tmp_path):
    env = DummyVecEnv([lambda: gymnasium.make(env_id)])
    if normalized:
        env = VecNormalize(env)
        env.reset()
        for _ in range(50):
            env.step([env.action_space.sample()])
    small = {"policy_kwargs": {"net_arch": [8, 6]}, "device": "cpu", "seed": 0}
    model = getattr(sb3_contrib if name == "TQC" else sb3, name)(
        "MlpPolicy",
        env,
        **small,
        **({"n_steps": 32, "batch_size": 32} if name == "PPO" else {"learning_starts": 10, "buffer_size": 500}),
    )
    model.learn(40)
    model.save(tmp_path / "model.zip")
    words = ["--policy", str(tmp_path / "model.zip"), "--to", str(tmp_path / "policy.npz")]
    if normalized:
        env.save(str(tmp_path / "normal.pkl"))
        if name == "PPO":  # whose zip tells
            with pytest.raises(UserError, match="was trained under VecNormalize: give its statistics"):
                export.main(words)
            assert not (tmp_path / "policy.npz").exists()
        words += ["--normalization", str(tmp_path / "normal.pkl")]
    export.main(words)
    policy, states = (
        load_policy(tmp_path / "policy.npz"),
        np.random.default_rng(0).normal(size=(50, env.observation_space.shape[0])),
    )
    raw = states.astype(np.float32)
    wanted = model.predict(env.normalize_obs(raw) if normalized else raw, deterministic=True)[0]
    np.testing.assert_allclose(policy.act(torch.from_numpy(raw)).numpy().reshape(wanted.shape), wanted, atol=1e-4)


def test_a_hub_folder_opens_and_its_example_runs(fitted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checkpoint = fitted.summary["checkpoint"]
    logs = str(fitted.folder.parents[2])
    evaluate.main(
        ["--checkpoint", checkpoint, "--policies", "8", "--episodes", "2", "--fresh_episodes", "2", "--logs", logs]
    )
    export.main(["--checkpoint", checkpoint, "--to", "mine"])
    assert capsys.readouterr().out.strip().splitlines()[-1] == "mine"
    assert sorted(path.name for path in Path("mine").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    ours, theirs = load_autoencoder(checkpoint), load_autoencoder("mine")
    for name, tensor in ours.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], tensor), name
    assert theirs.hparams["description"] == ours.hparams["description"]
    card = Path("mine/README.md").read_text()
    assert (
        f"| held out | {fitted.summary['val_fvu']:.3f} |" in card and "| recovery of the best |" in card and "[" in card
    )
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(code.splitlines()) <= 10
    names = {}
    exec(code, names)
    assert names["actions"].shape == (4, 1, 1) and names["again"].shape == (4, 2)
    # Decoded latents are the pool's, as far from their mean as its policies are, and not whitened points.
    encodings = ours.latent_encodings.double()
    apart = encodings - encodings.mean(0)
    nearest = torch.cdist(names["latents"].double(), encodings).min(1).values
    assert (nearest < apart.norm(dim=1).mean()).all()
    # What the folder lacks is told, and a folder of later making is not guessed at.
    config = json.loads(Path("mine/config.json").read_text())
    Path("mine/config.json").write_text(json.dumps({**config, "format": 2}))
    with pytest.raises(UserError, match="is of format 2, and this version reads 1"):
        load_autoencoder("mine")
    Path("mine/config.json").unlink()
    with pytest.raises(UserError, match=r"holds no config\.json"):
        load_autoencoder("mine")


def test_choices_that_do_not_count_from_0_are_refused(tmp_path):
    policy = drawn("categorical")[1]
    replace(policy, action_low=policy.action_low - 1, action_high=policy.action_high - 1).save(tmp_path / "policy.npz")
    with pytest.raises(UserError, match=r"count from 0, but this policy's begin at \[-1\.0\]"):
        export.main(["--policy", str(tmp_path / "policy.npz"), "--to", str(tmp_path / "x.zip"), "--env", "acrobot"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "export takes --to, and one of"),
        (["--policy", "p.npz", "--checkpoint", "c.ckpt", "--to", "x"], "export takes --to, and one of"),
        (["--policy", "gone.npz", "--to", "x.zip", "--env", "hopper"], "--policy expects a file, but there is none at gone"),
        (["--policy", "p.npz", "--to", "there.zip", "--env", "hopper"], "there already"),
        (["--policy", "p.npz", "--to", "x.npz"], r"expect policy\.npz and model\.zip"),
        (["--policy", "p.npz", "--to", "x.zip"], "--env goes with a .zip that is written"),
        (["--policy", "m.zip", "--to", "x.npz", "--env", "hopper"], "--env goes with a .zip that is written"),
        (["--policy", "p.npz", "--to", "x.zip", "--env", "hoper"], "Did you mean 'hopper'"),
        (["--policy", "p.npz", "--to", "x.zip", "--env", "hopper", "--normalization", "n.pkl"], "--normalization goes with"),
        (["--policy", "p.npz", "--to", "x.zip", "--env", "acrobot"], "give the environment that it was made for"),
        (["--policy", "bounded.npz", "--to", "x.zip", "--env", "hopper"], "bounds its standardized observations"),
        (["--policy", "m.zip", "--to", "x.npz"], "is no model of Stable-Baselines3"),
        (["--checkpoint", "p.npz", "--to", "x.zip"], "--to expects a folder for a checkpoint"),
        (["--checkpoint", "m.zip", "--to", "x"], "is no checkpoint of a behavior autoencoder"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_told_and_nothing_is_written(words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, policy = drawn("tanh")
    policy.save(Path("p.npz"))
    replace(policy, observation_clip=10.0).save(Path("bounded.npz"))
    for name in ("c.ckpt", "m.zip", "there.zip", "n.pkl"):
        Path(name).write_text("nothing")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UserError, match=told):
        export.main(words)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
