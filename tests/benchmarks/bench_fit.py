"""Speed of the main job: Lightning against a bare loop that does the same work, and collection end to end."""

import time

import lightning as L
import numpy as np
import pytest
import torch

from lightning_pz.autoencoder import losses
from lightning_pz.envs.presets import expand_presets
from lightning_pz.envs.specs import env_spec
from lightning_pz.jobs.fit import prepare_fit
from lightning_pz.policy import Layout, act_shared
from lightning_pz.pool.recipe import RandomRecipe, collect

STEPS, ROUNDS = 150, 5


@pytest.mark.parametrize("env", ["mountaincar", "halfcheetah"])
def test_lightning_overhead(env, tmp_path):
    """Alternates the two, so that a busy machine slows both; prints the ratio of their medians."""
    arguments = [
        "--env", env, "--logs", str(tmp_path), "--data.recipe", "random", "--data.random.candidates", "5000",
        "--trainer.max_steps", str(STEPS), "--data.steps_per_epoch", str(STEPS), "--trainer.enable_progress_bar", "false",
    ]  # fmt: skip
    times: dict[str, list[float]] = {"lightning": [], "bare": []}
    for _ in range(ROUNDS):
        cli = prepare_fit(expand_presets("fit", arguments))
        data, model = cli.datamodule, cli.model
        data.prepare_data()
        data.setup()
        clock = _TrainingClock()
        cli.trainer.callbacks.append(clock)
        cli.trainer.fit(model, data)
        times["lightning"].append(clock.seconds)

        cli = prepare_fit(expand_presets("fit", arguments))
        model, data = cli.model, cli.datamodule
        data.prepare_data()
        data.setup()
        model._build(data.description())
        start = time.process_time()
        _bare_loop(model, data.train_dataloader())
        times["bare"].append(time.process_time() - start)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    print(f"\n  {env}: {STEPS / medians['lightning']:.0f} Lightning steps and {STEPS / medians['bare']:.0f} bare steps per "
          f"CPU second, overhead {medians['lightning'] / medians['bare'] - 1:+.1%}")  # fmt: skip


class _TrainingClock(L.Callback):
    """Takes the CPU time of the training steps, without the validation after the last one."""

    def on_train_start(self, trainer, model):
        self.start = time.process_time()

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.seconds = time.process_time() - self.start


def _bare_loop(model, loader):
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    for batch in loader:
        params = model.decoder(model.encoder(batch.fingerprints))
        actions = act_shared(model.layout, params, batch.states)
        loss = losses.behavior(losses.Reconstruction(actions, batch.actions, model.action_variance))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()


@pytest.mark.parametrize("env", ["MountainCarContinuous-v0", "HalfCheetah-v5"])
def test_collection(benchmark, env, tmp_path):
    spec = env_spec(env)
    layout = Layout(spec.observation_size, (32, 32), spec.action_size)
    recipe = RandomRecipe(candidates=10_000)
    benchmark.pedantic(collect, (tmp_path / "pool", spec, layout, recipe), {"progress": False}, rounds=1)
