"""A policy in a file acts as it did; so does its ONNX graph, in another runtime."""

import numpy as np
import onnxruntime
import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.policy import ACTIVATIONS, Layout, PolicyNetwork
from lightning_pz.policy.onnx_file import write_onnx
from lightning_pz.policy.saved import SavedPolicy, load_policy


def make(activation="tanh", hidden=(8, 5), squash="tanh"):
    generator = torch.Generator().manual_seed(1)
    layout = Layout(4, hidden, 2, activation)
    return SavedPolicy(
        layout,
        torch.randn(layout.num_params, generator=generator),
        torch.tensor([1.0, -20.0, 0.0, 3.0]),
        torch.tensor([0.5, 100.0, 1.0, 2.0]),
        torch.tensor([-1.0, -3.0]),
        torch.tensor([1.0, 5.0]),
        squash,
    )


def observations():
    return torch.randn(50, 4, generator=torch.Generator().manual_seed(2)) * torch.tensor([1.0, 100.0, 1.0, 5.0])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(8, 5), ()])
def test_acts_as_the_network_and_onnx_runtime_do(activation, hidden, tmp_path):
    policy = make(activation, hidden)
    network = PolicyNetwork(
        policy.layout, policy.observation_mean, policy.observation_std, policy.action_low, policy.action_high
    )
    expected = network(policy.params[None], observations()[None])[0]
    assert torch.allclose(policy.act(observations()), expected, atol=1e-5)
    write_onnx(*policy.plan(), (4,), tmp_path / "policy.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    for count in (50, 1):
        (found,) = session.run(["action"], {"observation": observations()[:count].numpy()})
        assert np.abs(found - expected[:count].numpy()).max() < 1e-5
        assert (found >= [-1, -3]).all() and (found <= [1, 5]).all()
    assert [file.name for file in tmp_path.iterdir()] == ["policy.onnx"]


def test_clipped_actions_stay_in_the_box_and_agree_in_onnx(tmp_path):
    policy = make(squash="clip")
    expected = policy.act(observations())
    assert expected.min(0).values.tolist() == [-1, -3] and expected.max() <= 5
    write_onnx(*policy.plan(), (4,), tmp_path / "policy.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    (found,) = session.run(None, {"observation": observations().numpy()})
    assert np.abs(found - expected.numpy()).max() < 1e-5
    with pytest.raises(ValueError, match="clipped"):
        policy.network()


def test_npz_round_trip(tmp_path):
    policy = make("silu", squash="clip")
    policy.save(tmp_path / "policy.npz")
    again = load_policy(tmp_path / "policy.npz")
    assert again.layout == policy.layout and again.squash == "clip"
    for name in ("params", "observation_mean", "observation_std", "action_low", "action_high"):
        assert torch.equal(getattr(again, name), getattr(policy, name))


def test_files_that_hold_no_policy(tmp_path):
    with pytest.raises(UserError, match="there is none at"):
        load_policy(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not a policy")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for name in ("text.npz", "other.npz"):
        with pytest.raises(UserError, match="is no policy file"):
            load_policy(tmp_path / name)
    policy = make()
    object.__setattr__(policy, "params", policy.params[:-1])
    policy.save(tmp_path / "short.npz")
    with pytest.raises(UserError, match="is broken"):
        load_policy(tmp_path / "short.npz")


def broken_files(folder):
    """Yield what people and full disks make of a policy file, and what is said of it."""
    make().save(folder / "whole.npz")
    content = (folder / "whole.npz").read_bytes()
    with np.load(folder / "whole.npz") as file:
        arrays = dict(file)
    for name, kept in (("empty", 0), ("one", 1), ("half", len(content) // 2), ("cut", len(content) - 1)):
        path = folder / f"{name}.npz"
        path.write_bytes(content[:kept])
        yield path, "is no policy file"
    np.save(folder / "bare.npy", arrays["params"])
    (folder / "bare.npy").rename(folder / "bare.npz")
    yield folder / "bare.npz", "is no policy file"
    altered = bytearray(content)
    altered[len(content) // 3] ^= 255
    (folder / "altered.npz").write_bytes(altered)
    yield folder / "altered.npz", "is no policy file"
    for name, change, sentence in (
        ("objects", {"params": np.array([{}, None])}, "is no policy file"),
        ("layout", {"layout": np.array("[1]")}, "is no policy file"),
        ("nan", {"params": np.full_like(arrays["params"], np.nan)}, "params holds numbers that are not finite"),
        ("large", {"observation_std": np.full(4, 1e39)}, "observation_std holds numbers that are not finite"),
        ("matrix", {"params": arrays["params"][None]}, r"numbers in params, but there is an array of shape \(1, "),
        ("box", {"action_low": arrays["action_low"][:1]}, r"2 numbers in action_low, but .* \(1,\)"),
        ("squash", {"squash": np.array("sigmoid")}, "squash is 'sigmoid'"),
        ("zero", {"observation_std": np.zeros(4)}, "observation_std expects numbers above 0 in float32, but holds 0"),
        (
            "tiny",
            {"observation_std": np.array([1, 1, 1, 1e-60])},
            "observation_std expects numbers above 0 in float32, but holds 0",
        ),
        (
            "negative",
            {"observation_std": -arrays["observation_std"]},
            "observation_std expects numbers above 0 .* holds -",
        ),
        ("point", {"action_low": arrays["action_high"]}, "action_low expects numbers below action_high"),
        (
            "turned",
            {"action_low": arrays["action_high"], "action_high": arrays["action_low"]},
            "action_low expects numbers below action_high",
        ),
    ):
        np.savez(folder / f"{name}.npz", **(arrays | change))
        yield folder / f"{name}.npz", sentence


def test_every_broken_file_is_refused(tmp_path):
    for path, sentence in broken_files(tmp_path):
        with pytest.raises(UserError, match=sentence) as refused:
            load_policy(path)
        assert str(path) in str(refused.value)


def test_weights_of_another_type_are_the_same_policy(tmp_path):
    make().save(tmp_path / "policy.npz")
    with np.load(tmp_path / "policy.npz") as file:
        arrays = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in file.items()}
    np.savez(tmp_path / "double.npz", **arrays)
    assert torch.equal(load_policy(tmp_path / "double.npz").act(observations()), make().act(observations()))
