"""`finetune` on policies that choose or draw their actions: every algorithm from the command to the files it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from lightning_pz import finetune, fit
from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.envs.episode_seeds import TEST_SEEDS
from lightning_pz.envs.rollout import rollout
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.jobs.finetune_run import build_search
from lightning_pz.policy.saved import load_policy
from lightning_pz.search.optimizers.pgpe import Pgpe
from lightning_pz.search.settings import BASELINES, SearchSettings

TINY_FIT = [
    "--data.recipe", "random", "--policy", "small", "--model.latent_dim", "2",
    "--data.random.candidates", "200", "--data.random.neighbors", "3",
    "--data.random.states", "{probe: 16, train: 16, val: 8, test: 8, episodes: 2}",
    "--data.steps_per_epoch", "20", "--trainer.max_steps", "20", "--trainer.log_every_n_steps", "10",
    "--data.batch_size", "16", "--data.states_per_step", "8",
    "--model.encoder_widths", "[16]", "--model.decoder_widths", "[16]",
]  # fmt: skip
TINY = [
    "--budget", "1500", "--starts", "2", "--pgpe.population", "4", "--random_latent.population", "4",
    "--gradient.policies", "1", "--gradient.episodes", "3", "--evaluation_episodes", "2", "--test_episodes", "4",
    "--evaluate_every", "400",
]  # fmt: skip
FITS = {
    "choosing": ["--env", "CartPole-v1", "--env.horizon", "60"],
    "drawing": ["--env", "CartPole-v1", "--env.horizon", "60", "--policy.sample", "true", "--policy.temperature", "2"],
    "gaussian": [
        "--env", "MountainCarContinuous-v0", "--env.horizon", "60", "--policy.head", "gaussian", "--policy.sample", "true",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    logs = tmp_path_factory.mktemp("logs")
    made = {
        name: fit.main([*TINY_FIT, *words, "--logs", str(logs / name)]).summary["checkpoint"]
        for name, words in FITS.items()
    }
    heads = {name: load_autoencoder(path).layout.head for name, path in made.items()}
    assert {name: (head.kind, head.sample) for name, head in heads.items()} == {
        "choosing": ("categorical", False), "drawing": ("categorical", True), "gaussian": ("gaussian", True),
    }  # fmt: skip
    return made


OURS = ("pgpe", "cmaes", "bo", "random_latent", "gradient", "parameter_pgpe")
CASES = [("choosing", name) for name in (*OURS, "ppo", "dqn")] + [("drawing", name) for name in (*OURS, "dqn")]
CASES += [("gaussian", name) for name in ("pgpe", "gradient", "sac")]
QUICK = [("drawing", "pgpe"), ("choosing", "dqn")]


@pytest.mark.parametrize(
    ("pool", "algorithm"), [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in CASES]
)
def test_every_algorithm_leaves_a_policy_that_acts_as_it_was_measured(
    pool: str, algorithm: str, checkpoints: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--baselines.chunk", "60"] if algorithm in BASELINES else []
    more += {"ppo": ["--budget", "2100"], "dqn": ["--budget", "200"], "sac": ["--budget", "110"]}.get(algorithm, [])
    finetune.main(["--checkpoint", checkpoints[pool], "--algorithm", algorithm, "--logs", str(tmp_path), *TINY, *more])
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    summary, policy = json.loads((folder / "summary.json").read_text()), load_policy(folder / "policy.npz")
    assert summary["algorithm"] == algorithm and 0 < summary["env_steps"] <= summary["budget"]
    model = load_autoencoder(checkpoints[pool])
    head = policy.layout.head
    if algorithm in BASELINES:
        assert head.choices == model.layout.head.choices and not head.sample
    else:
        assert policy.layout == model.layout
    spec = EnvSpec.from_dict(model.env)
    seeds, tasks = range(TEST_SEEDS, TEST_SEEDS + 4), find_tasks(spec.id, ["standard"])
    played = rollout(policy.network(), policy.params[None], spec, seeds, tasks)
    assert summary["standard/return"] == played.returns["standard"].mean()
    states = np.random.default_rng(0).normal(size=(20, spec.observation_size)).astype(np.float32)
    actions, *_ = onnxruntime.InferenceSession(folder / "policy.onnx").run(["action"], {"observation": states})
    assert actions == pytest.approx(policy.act(torch.from_numpy(states)).numpy(), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["pgpe", "gradient", "dqn"])
def test_a_command_given_twice_makes_the_same_policy(
    algorithm: str, checkpoints: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--budget", "300", "--baselines.chunk", "60"] if algorithm == "dqn" else []
    found = []
    for name in ("one", "two"):
        command = ["--checkpoint", checkpoints["drawing"], "--algorithm", algorithm, "--logs", str(tmp_path / name)]
        finetune.main([*command, *TINY, *more])
        folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
        found.append((load_policy(folder / "policy.npz").digest(), json.loads((folder / "summary.json").read_text())))
    assert found[0][0] == found[1][0] and found[0][1]["standard/return"] == found[1][1]["standard/return"]


@pytest.mark.parametrize("pool", ["drawing", "gaussian"])
def test_a_pair_that_does_not_differ_earns_the_same(
    pool: str, checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policies draw by the seeds of their episodes, so that a pair differs in what it does and not in luck."""
    seen = []

    def tell(self, state, points, fitness):
        seen.append(fitness)
        return state

    ask = Pgpe.ask

    def ask_at_the_center(self, state):
        asking, points = ask(self, state)
        return asking, points * 0 + points.mean(0)

    monkeypatch.setattr(Pgpe, "ask", ask_at_the_center)
    monkeypatch.setattr(Pgpe, "tell", tell)
    model = load_autoencoder(checkpoints[pool])
    _, search = build_search(model, SearchSettings(budget=2000, starts=1), 1)
    state = search.begin()
    for _ in range(3):
        state, _ = search.step(state)
    assert all(len(set(fitness.tolist())) == 1 and len(fitness) == 16 for fitness in seen)
    # From generation to generation the episodes are others.
    assert len(seen) == 2 and seen[0][0] != seen[1][0]


@pytest.mark.parametrize(
    ("pool", "words", "sentence"),
    [
        (
            "choosing",
            ["--algorithm", "sac"],
            "--algorithm sac acts in a box of real numbers, but CartPole-v1 has actions of 2",
        ),
        ("choosing", ["--algorithm", "crossq", "--hyperparameters", "zoo"], "--algorithm crossq acts in a box"),
        ("choosing", ["--algorithm", "td3", "--space", "latent"], "--algorithm td3 acts in a box"),
        ("gaussian", ["--algorithm", "dqn"], "--algorithm dqn chooses one of some actions, but Mountain"),
        ("gaussian", ["--algorithm", "td3", "--space", "weights", "--replay", "0"], "decoder's have a gaussian head"),
        (
            "gaussian",
            ["--algorithm", "gradient", "--gradient.noise", "0.1"],
            "--gradient.noise is added to the actions",
        ),
    ],
)
def test_what_an_algorithm_cannot_do_is_refused_before_anything_is_made(
    pool: str, words: list[str], sentence: str, checkpoints: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        finetune.main(["--checkpoint", checkpoints[pool], "--logs", str(tmp_path / "logs"), *words])
    assert not (tmp_path / "logs").exists()


def test_a_start_of_another_head_is_refused(checkpoints: dict[str, str], tmp_path: Path) -> None:
    from lightning_pz.policy.saved import SavedPolicy

    drawing = load_autoencoder(checkpoints["drawing"])
    SavedPolicy.of(drawing.policy, torch.zeros(drawing.layout.num_params)).save(tmp_path / "policy.npz")
    words = ["--logs", str(tmp_path / "logs"), "--start", str(tmp_path / "policy.npz"), *TINY]
    for pool in ("choosing", "gaussian"):
        with pytest.raises(
            UserError, match=r"--start .*categorical.* but the decoder makes .*give a policy of that kind"
        ):
            finetune.main(["--checkpoint", checkpoints[pool], *words])
        assert not (tmp_path / "logs" / "finetune").exists()
    finetune.main(["--checkpoint", checkpoints["drawing"], *words, "--anchor", "false"])
