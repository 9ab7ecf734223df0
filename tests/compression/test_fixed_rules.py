"""Runs of earlier versions are found where their rules are still those of the code, and other rules make another run."""

import importlib.metadata

import pytest

from lightning_pz import compress
from lightning_pz.compression import environments, fixed_rules, measures, run_identity, seeds
from lightning_pz.compression.environments import World
from lightning_pz.compression.methods import l0, quantize
from lightning_pz.compression.run_identity import compression_identity
from lightning_pz.compression.training import distill
from tests.compression.conftest import HOPPER, LANDER

GAME = World("GameOfMine-v0", 1000, (4, 10, 10), 3, True, content={"source": ""})
DENSE = {
    LANDER: "8fdc6e0303c70031e5a636ba970180f9635e897ea3bfc016369c70b61fe4586b",
    HOPPER: "5ed80812279f0e2832e686b57d99f575cb8351a8b896f154f994f02b2c73dc01",
    GAME: "5ed80812279f0e2832e686b57d99f575cb8351a8b896f154f994f02b2c73dc01",  # any would do
}
"""Digests of the dense networks of the runs below."""


@pytest.fixture
def identity_of(tmp_path, monkeypatch):
    """Return a function that gives the identity of a run by its words; a word that ends in `=` gets the dense network."""
    (tmp_path / "model.zip").touch()
    name = {LANDER: "lunarlander", HOPPER: "hopper", GAME: "minatar-breakout"}

    def known(world, words):
        monkeypatch.setattr(run_identity, "file_digest", lambda path: DENSE[world])
        given = [word + str(tmp_path / "model.zip") * word.endswith("=") for word in words.split()]
        _, settings, _ = compress.parse_words(["--env", name[world], *given])
        return compression_identity(world, settings)

    return known


@pytest.mark.parametrize(
    ("world", "words", "mark"),
    [
        (LANDER, "--method=none --algorithm=ppo", "f2f8075b6673f1bd"),
        (LANDER, "--method=prune --algorithm=ppo --sparsity=0.9 --reference=", "ffe7f539f1bf70b1"),
        (LANDER, "--method=l0+low_rank --algorithm=ppo --reference=", "b74ff4f37186414c"),
        (LANDER, "--method=prune --sparsity=0.9 --distill.steps=5000 --policy=", "ed83b5c885f6fb88"),
        (LANDER, "--method=prune+int8 --sparsity=0.9 --distill.steps=5000 --policy=", "9b555c346444ebcf"),
        (HOPPER, "--method=none --algorithm=sac --steps=300000 --checkpoint_every=50000", "5d83adfd3a090a67"),
        (HOPPER, "--method=prune+int8 --sparsity=0.9 --policy=", "d46477a15b250607"),
    ],
)  # fmt: skip
def test_runs_of_the_study_are_found(world, words, mark, identity_of):
    identity = identity_of(world, words)
    assert mark in (identity.digest, *identity.earlier)


@pytest.mark.parametrize(
    ("world", "words", "mark"),
    [
        (HOPPER, "--method=prune+int8 --sparsity=0.9 --policy=", "5f62d4f44a6e6322"),
        (HOPPER, "--method=prune+int4 --sparsity=0.9 --policy=", "2591e534f74cce05"),
        (HOPPER, "--method=low_rank+int8 --activations=true --policy=", "36f7dba97265d62a"),
        (HOPPER, "--method=none --algorithm=sac --steps=300000 --checkpoint_every=50000", "7ef726c4e7b9247f"),
        (GAME, "--method=prune+int8 --policy=", "65a2090765e50272"),
        (GAME, "--method=low_rank --policy=", "f874015295a59b1c"),
        (GAME, "--method=low_rank+int8 --int8.per_channel=true --policy=", "adf57682440a2751"),
        (GAME, "--method=low_rank+int4 --policy=", "da5c7a64810b3d24"),
    ],
)  # fmt: skip
def test_runs_with_versions_and_without_rules_are_found(world, words, mark, identity_of, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")
    identity = identity_of(world, words)
    assert mark in identity.earlier and mark != identity.digest
    # Whatever torch is here, which they do not name.
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.0" if name == "torch" else "1.0")
    assert mark in identity_of(world, words).earlier


@pytest.mark.parametrize(
    ("world", "words", "marks"),
    [
        # Factors of convolutions took one scale each before, and no mark says which of the two a run has.
        (GAME, "--method=low_rank+int8 --policy=", {"adee8ebdadc38f7b", "4b388c9729ff6017", "4a858f2c62aee9f2"}),
        # Scales of 4 bits were float32 at first, when no run kept versions.
        (GAME, "--method=low_rank+int4 --policy=", {"3eab6788070202a5", "14639c8ed439da7e"}),
        (LANDER, "--method=prune+int4 --sparsity=0.9 --distill.steps=5000 --policy=", {"e8dc163f13c2fd6a"}),
    ],
)
def test_runs_that_may_have_followed_another_rule_are_made_again(world, words, marks, identity_of, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")
    identity = identity_of(world, words)
    assert marks.isdisjoint({identity.digest, *identity.earlier})


@pytest.mark.parametrize(
    ("module", "constant", "words"),
    [
        (seeds, "RETURN_SEEDS", "--method=none"),
        (seeds, "FIRST_TRAINED", "--method=none"),
        (seeds, "SEED_MARGIN", "--method=none"),
        (seeds, "HELD_OUT_SEEDS", "--method=none --policy="),
        (environments, "EPISODE_SLOTS", "--method=none"),
        (measures, "BEHAVIOR_EPISODES", "--method=none --policy="),
        (measures, "BEHAVIOR_EPISODES", "--method=prune --reference="),
        (distill, "INT8_RATE", "--method=int8 --policy="),
        (distill, "INT8_RATE", "--method=prune+int4 --policy="),
        (distill, "RANK_STATES", "--method=low_rank --low_rank.error=0.1"),
        (distill, "RANK_STATES", "--method=int8 --activations=true --policy="),
        (quantize, "TRIED_SCALES", "--method=int8 --activations=true --policy="),
        (l0, "TEMPERATURE", "--method=l0"),
        (l0, "UNIFORM_EDGE", "--method=l0 --policy="),
        (l0, "STRETCH", "--method=l0 --policy="),
    ],
)
def test_a_constant_of_the_code_decides(module, constant, words, identity_of, monkeypatch):
    """A run of another value is another one, also one whose identity does not hold the value."""
    before, other = identity_of(HOPPER, words), identity_of(HOPPER, "--method=prune")
    assert before.earlier
    monkeypatch.setattr(module, constant, getattr(module, constant) * 2)
    now = identity_of(HOPPER, words)
    assert {now.digest, *now.earlier}.isdisjoint({before.digest, *before.earlier})
    if module in (distill, quantize, l0, measures):
        assert identity_of(HOPPER, "--method=prune").digest == other.digest


def test_the_number_of_a_rule_decides(identity_of, monkeypatch):
    words = "--method=prune+int8 --policy="
    before, other = identity_of(HOPPER, words), identity_of(HOPPER, "--method=prune --policy=")
    monkeypatch.setitem(fixed_rules._NUMBERS, "int8", 2)
    now = identity_of(HOPPER, words)
    assert {now.digest, *now.earlier}.isdisjoint({before.digest, *before.earlier})
    assert identity_of(HOPPER, "--method=prune --policy=") == other
