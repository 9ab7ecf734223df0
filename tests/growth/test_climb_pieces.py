"""A growth in pieces is the growth in one, to the last bit, wherever the pieces are played and in whatever order they end."""

import dataclasses
import multiprocessing
import pickle
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.common.executors import Outcome
from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.growth import rounds as rounds_module
from lightning_pz.growth.climb_pieces import FirstPiece, GrowthScene, play_piece
from lightning_pz.growth.loop import grow
from lightning_pz.growth.playing import GenerationPlayer, Place
from lightning_pz.growth.resume import working_folder
from lightning_pz.growth.rounds import Grower
from lightning_pz.policy import Layout, PolicyNetwork, draw_params
from lightning_pz.pool import sampling as sampling_module
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.recipe import collect
from lightning_pz.pool.states import StateCounts, sample_states

# 288 policies a generation: more than are played side by side, and 16 groups share them unevenly.
RECIPE = GrownRecipe(
    steps=20_000, first=300, size=700, horizon=10, directions=18, population=16, generations=2, latent_dim=2,
    latent_steps=5, own_states=3, neighbors=5, threads=2,
    states=StateCounts(probe=16, train=24, val=12, test=12, episodes=4),
)  # fmt: skip
CASES = {
    "climbs": ("Hopper-v5", {}),
    "latent climbs": ("MountainCarContinuous-v0", {"latent_rounds": 1}),
    "CMA-ES": ("MountainCarContinuous-v0", {"emitter": "cmaes", "latent_rounds": 1}),
    "variation": ("MountainCarContinuous-v0", {"emitter": "iso_line", "latent_rounds": 1}),
    "embedded steps": ("Hopper-v5", {"outcome": "fourier", "features": 8}),
}


def copied_and_reversed(executor, function, pieces):
    """Play copies of pieces as if on workers; the last one ends first."""
    done = [function(pickle.loads(pickle.dumps(piece))) for piece in pieces]
    return [(number, Outcome(value)) for number, value in reversed(list(enumerate(done)))]


def state_of(growth):
    whole = {f"growth {name}": value for name, value in vars(growth).items() if name != "archive"}
    return growth.archive.arrays() | whole


@pytest.mark.parametrize("case", CASES)
def test_rounds_do_not_depend_on_how_they_are_cut(case, monkeypatch):
    env_id, change = CASES[case]
    recipe, spec = dataclasses.replace(RECIPE, **change), env_spec(env_id, 50)
    shape = Layout(spec.observation_size, (6,), spec.action_size)
    sample = sample_states(spec, recipe.states, shape, recipe.prior, recipe.seed, progress=False)
    network = PolicyNetwork(shape, sample.mean, sample.std, *map(torch.tensor, (spec.action_low, spec.action_high)))
    grown = {}
    for groups in (0, 2, 3, 16):
        taken: list[int] = []
        if groups:
            monkeypatch.setattr(rounds_module, "run_pieces", copied_and_reversed)
        about = (spec, network, recipe, sample, find_tasks(env_id), taken.append)
        grower = Grower(*about, executor=Executor() if groups else None, groups=groups or 1)
        growth = grower.round(grower.begin())
        assert sum(taken) == growth.steps and len(taken) >= 2 * groups
        grown[groups] = state_of(growth)
    assert len(grown[0]["numbers"]) > 400 and (grown[0]["rounds"] == 1).any()
    for groups in (2, 3, 16):
        for name, value in grown[0].items():
            np.testing.assert_array_equal(grown[groups][name], value, f"{name} in {groups} groups")


def test_a_policy_alone_is_the_same_policy(car, layout):
    """Its own states, too, though they are drawn together with those of others, and its episode ends last."""
    spec = env_spec("Hopper-v5")
    shape = Layout(spec.observation_size, (6,), spec.action_size)
    network = PolicyNetwork(
        shape, torch.zeros(11), torch.ones(11), *map(torch.tensor, (spec.action_low, spec.action_high))
    )
    recipe = dataclasses.replace(RECIPE, horizon=60, outcome="mean_spread")
    params = draw_params(recipe.prior, shape, 0, range(300))
    player = GenerationPlayer(spec, network, recipe, find_tasks(spec.id), threads=1)
    whole, steps = player.play(params, Place(3, 0, 300, 1000, 0, 0), np.arange(300))
    assert len(whole) == 300 and len(set(whole.lengths.tolist())) > 10 and steps == whole.lengths.sum()
    longest = int(whole.lengths.argmax())
    for number in (0, 255, 256, 299, longest):
        alone, _ = player.play(params[number : number + 1], Place(3, number, 300, 1000, 0, 0), np.array([number]))
        for name, array in alone.arrays().items():
            np.testing.assert_array_equal(array[0], whole.arrays()[name][number], name)


def test_another_environment_on_the_worker_is_refused(car, layout, grown_recipe):
    box = (torch.tensor(car.action_low), torch.tensor(car.action_high))
    scene = GrowthScene(
        dataclasses.replace(car, source="another"),
        PolicyNetwork(layout, torch.zeros(2), torch.ones(2), *box), grown_recipe, ("standard",),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"of this worker is not the one of the command: env\.source"):
        play_piece(FirstPiece(scene, 0, 4))


class Mortal(ProcessPoolExecutor):
    """Processes that are killed, all at once, when so many more pieces have been submitted."""

    left = 10**9

    def submit(self, fn, /, *args, **kwargs):
        future = super().submit(fn, *args, **kwargs)
        self.left -= 1
        if not self.left:
            for process in self._processes.values():
                process.kill()
        return future


@pytest.mark.slow
def test_pools_through_real_processes_that_die_in_the_middle(
    grown, pool, tmp_path, car, layout, grown_recipe, recipe, monkeypatch
):
    with Mortal(2, multiprocessing.get_context("spawn")) as executor:
        made = grow(tmp_path / "grown", car, layout, grown_recipe, progress=False, executor=executor, groups=3)
        assert made.meta["arrays"] == grown.meta["arrays"]
        history = [one.meta["growth"]["history"] for one in (made, grown)]
        assert history[0] == history[1]
        monkeypatch.setattr(sampling_module, "_DRAW_FLOATS", 70 * layout.num_params)
        drawn = collect(tmp_path / "drawn", car, layout, recipe, progress=False, executor=executor)
        alone = collect(tmp_path / "alone", car, layout, recipe, progress=False)
        assert drawn.meta["arrays"] == alone.meta["arrays"]
        executor.left, folder = 3 + 2, tmp_path / "killed"  # in the second round
        with pytest.raises((UserError, BrokenProcessPool)):
            grow(folder, car, layout, grown_recipe, progress=False, executor=executor, groups=2)
    assert [path.name for path in working_folder(folder).glob("round-*")] == ["round-0001"]
    resumed = grow(folder, car, layout, grown_recipe, progress=False)
    assert resumed.meta["arrays"] == grown.meta["arrays"] and not working_folder(folder).exists()
