"""The figure of return against bytes shows runs that can be compared, and the policy that they all are measured against."""

import json

import pytest

from lightning_pz.common.identity import digest
from lightning_pz.jobs import compress as compressing
from tests.compression.conftest import PPO_TINY, run


@pytest.fixture
def drawn(monkeypatch) -> list[set]:
    """Return a list that gets what each figure shows: of its runs the share removed, and the return of the reference."""
    found: list[set] = []
    draw = compressing.figures.trade_off

    def remember(runs, title):
        found.append({(one["sparsity_target"], one["return_dense"]) for one in runs})
        return draw(runs, title)

    monkeypatch.setattr(compressing.figures, "trade_off", remember)
    return found


@pytest.mark.slow
def test_only_trainings_alike_and_one_reference_share_a_figure(point_mass, tmp_path, capsys, drawn):
    base = [
        "--env",
        point_mass(limit=10),
        "--algorithm",
        "ppo",
        "--method",
        "prune",
        "--logs",
        tmp_path,
        "--format",
        "lpz",
    ]
    base += ["--steps", 64, "--model", json.dumps(PPO_TINY)]
    train = lambda *more: run(capsys, *base, *more)  # noqa: E731
    first, summary = train("--sparsity", 0.5)
    train("--sparsity", 0.6)
    assert drawn[-1] == {(0.5, None), (0.6, None)}
    # Longer, with more epochs, with another network.
    for share, more in ((0.7, ["--steps", 96]), (0.71, ["--model.ppo.n_epochs", 2]), (0.72, ["--model.ppo.policy_kwargs.activation_fn", "torch.nn.ReLU"])):  # fmt: skip
        train("--sparsity", share, *more)
        assert drawn[-1] == {(share, None)}
    # A reference is known by content, and is the one that is drawn.
    other = tmp_path / "other.zip"
    other.write_bytes((first / "model.zip").read_bytes())
    one = train("--sparsity", 0.8, "--reference", first / "model.zip")[1]
    train("--sparsity", 0.81, "--reference", other)
    assert drawn[-1] == {(0.8, one["return_dense"]), (0.81, one["return_dense"])}
    third = train("--method", "none", "--seed", 5)[0]
    two = train("--sparsity", 0.82, "--reference", third / "model.zip")[1]
    assert drawn[-1] == {(0.82, two["return_dense"])} and two["return_dense"] != one["return_dense"]
    # A finished run of before, whose summary has less, is in no figure of these.
    summary["origin"] = digest([json.loads((first / "identity.json").read_text())["world"], {"algorithm": "ppo"}])[:16]
    (first / "summary.json").write_text(json.dumps(summary))
    train("--sparsity", 0.61)
    assert drawn[-1] == {(None, None), (0.6, None), (0.61, None)}


def test_all_methods_on_one_policy_share_a_figure(write_policy, point_mass, tmp_path, capsys, drawn):
    base = ["--env", point_mass(limit=10), "--logs", tmp_path / "logs", "--format", "lpz", "--method", "prune"]
    for share, policy in ((0.5, write_policy()), (0.6, write_policy()), (0.7, write_policy(seed=1, name="other.npz"))):
        run(capsys, *base, "--sparsity", share, "--policy", policy, "--distill.learning_rate", share / 100)
    shares = [{share for share, _ in one} for one in drawn]
    assert shares == [{0.5}, {0.5, 0.6}, {0.7}]
