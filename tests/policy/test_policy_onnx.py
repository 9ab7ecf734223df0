"""Saved policies of every head, on their own and in onnxruntime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from lightning_pz.policy import Head, Layout, PolicyNetwork, Prior, act_each, draw_params
from lightning_pz.policy.policy_onnx import write_policy_onnx
from lightning_pz.policy.saved import SavedPolicy, load_policy

HEADS = {
    "tanh": Head(),
    "gaussian": Head("gaussian", initial_std=0.2, sample=True),
    "categorical": Head("categorical", (3, 2), temperature=0.5),
}
OBSERVATIONS = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))


def a_policy(kind: str) -> SavedPolicy:
    layout = Layout(4, (8, 6), 2, "relu", HEADS[kind])
    low = torch.tensor([5.0, 0.0]) if kind == "categorical" else torch.tensor([-1.0, 0.0])
    high = torch.tensor([7.0, 1.0]) if kind == "categorical" else torch.tensor([1.0, 4.0])
    network = PolicyNetwork(layout, torch.full((4,), 0.3), torch.full((4,), 2.0), low, high)
    return SavedPolicy.of(network, draw_params(Prior(gain=1.5), layout, 0, range(1))[0])


@pytest.mark.parametrize("kind", HEADS)
def test_a_saved_policy_acts_as_its_network_and_comes_back(kind: str, tmp_path: Path) -> None:
    policy = a_policy(kind)
    expected = policy.network()(policy.params[None], OBSERVATIONS[None])[0]
    torch.testing.assert_close(policy.act(OBSERVATIONS), expected)
    policy.save(tmp_path / "policy.npz")
    again = load_policy(tmp_path / "policy.npz")
    assert (again.layout, again.digest()) == (policy.layout, policy.digest())
    assert torch.equal(again.act(OBSERVATIONS), policy.act(OBSERVATIONS))
    other = replace(policy, layout=replace(policy.layout, head=replace(policy.layout.head, sample=False)))
    assert (other.digest() == policy.digest()) == (kind != "gaussian")


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("kind", HEADS)
def test_onnxruntime_gives_actions_and_distributions(kind: str, clip: bool, tmp_path: Path) -> None:
    policy = a_policy(kind)
    if clip:
        policy = replace(policy, observation_clip=0.5, limit=0.4)
    write_policy_onnx(policy, tmp_path / "policy.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx", providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"observation": OBSERVATIONS.numpy()}), strict=True))
    actions = policy.act(OBSERVATIONS).numpy()
    assert found["action"].dtype == actions.dtype
    np.testing.assert_allclose(found["action"], actions, rtol=1e-5, atol=1e-6)
    if clip or kind == "tanh":
        return
    # Behavior features say the same of the distributions.
    network = policy.network()
    features = act_each(policy.layout, policy.params[None], network.standardize(OBSERVATIONS)[None])[0]
    if kind == "categorical":
        np.testing.assert_allclose(found["probabilities"], features.square().numpy(), atol=1e-6)
        each = np.split(np.exp(found["logits"]), [3], axis=1)
        by_hand = np.concatenate([part / part.sum(1, keepdims=True) for part in each], axis=1)
        np.testing.assert_allclose(found["probabilities"], by_hand, atol=1e-6)
        return
    np.testing.assert_allclose(found["mean"], network.scale(features[:, :2]).numpy(), atol=1e-6)
    np.testing.assert_allclose(found["std"], features[:, 2:].numpy() * [1, 2], atol=1e-6)
