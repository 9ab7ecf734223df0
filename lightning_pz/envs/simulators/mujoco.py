"""MuJoCo environments on MuJoCo's own native batch stepping."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError

from lightning_pz.envs.simulators.mujoco_tables import MUJOCO_FORMULAS
from lightning_pz.envs.simulators.protocol import Physics, Transition, check_seeds, draw_starts, put_rows, take_rows
from lightning_pz.envs.specs import EnvSpec


class MujocoSimulator:
    """Episodes of one of `MUJOCO_FORMULAS`, bit-equal to Gymnasium's for the same seeds and actions.

    What Gymnasium reads late is read late here as well: `mj_step` leaves Cartesian positions and constraint
    forces one substep behind the state, and rewards and observations of some environments use them.
    """

    def __init__(self, spec: EnvSpec, size: int, threads: int = 1) -> None:
        self.spec, self.size = spec, size
        env = spec.make()
        source = env.unwrapped
        self._formulas = MUJOCO_FORMULAS[spec.id](source)
        # The model that Gymnasium itself loaded, and its way of cutting control steps into substeps.
        self._model: mujoco.MjModel = source.model  # type: ignore[attr-defined]
        self._substeps: int = source.frame_skip  # type: ignore[attr-defined]
        self._dt = float(source.dt)  # type: ignore[attr-defined]
        self._rest = source.init_qpos.copy(), source.init_qvel.copy()  # type: ignore[attr-defined]
        env.close()
        # Contact forces have to be computed on a simulation's whole MjData, so it must have one of its own.
        self._batch = Batch(self._model, size, threads, persistent=self._formulas.contact_forces)
        self._fields = {name: self._batch.bind(name) for name in ("qpos", "qvel", *self._formulas.outputs)}
        self._control = self._batch.bind("ctrl")
        if self._formulas.contact_forces:
            self._scratch = mujoco.MjData(self._model)
            self._fields["cfrc_ext"] = np.zeros((size, self._model.nbody, 6))
        # The active rows after the last step: what the next one starts from.
        self._now: dict[str, np.ndarray] = {}
        self._slots = np.empty(0, dtype=np.int64)
        self._observations = np.empty((0, spec.observation_size))

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Begin an episode in each of the first slots; see `Simulator.reset`."""
        check_seeds(seeds, self.size)
        slots = np.arange(len(seeds))
        self._batch.reset(slots, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        starts = draw_starts(lambda generator: self._formulas.noise(generator, *self._rest), seeds)
        for slot, start in enumerate(starts):
            self._fields["qpos"][slot], self._fields["qvel"][slot] = start
        self._batch.forward(slots)
        if self._formulas.contact_forces:
            self._fields["cfrc_ext"][: len(seeds)] = 0
        self._slots = slots
        self._now = {name: field[: len(seeds)].copy() for name, field in self._fields.items()}
        self._observations = self._formulas.observe(self._now)
        return self._observations.copy()

    def step(self, actions: np.ndarray, active: np.ndarray) -> Transition:
        """Advance the active slots by one control step; see `Simulator.step`."""
        before, observations = self._before(active)
        put_rows(self._control, active, actions)
        failed = self._advance(active)
        after = {name: take_rows(field, active) for name, field in self._fields.items()}
        rewards, terminated = self._formulas.outcome(before, after, actions, self._dt)
        next_observations = self._formulas.observe(after)
        if failed is not None:
            next_observations[np.isin(active, failed)] = np.nan
        self._slots, self._now, self._observations = active.copy(), after, next_observations
        physics = Physics(before["qpos"], before["qvel"]), Physics(after["qpos"].copy(), after["qvel"].copy())
        return Transition(observations, actions, next_observations.copy(), rewards, terminated, *physics, self._dt)

    def _before(self, active: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return fields and observations of the active slots, which the last call left behind."""
        if len(active) == len(self._slots) and np.array_equal(active, self._slots):
            return self._now, self._observations
        keep = np.searchsorted(self._slots, active)
        if len(self._slots) and np.array_equal(self._slots[np.minimum(keep, len(self._slots) - 1)], active):
            return {name: field[keep] for name, field in self._now.items()}, self._observations[keep]
        # A slot that sat out the last call: read its state back.
        before = {name: take_rows(field, active) for name, field in self._fields.items()}
        return before, self._formulas.observe(before)

    def _advance(self, active: np.ndarray) -> np.ndarray | None:
        """Step the active slots; return those in which MuJoCo gave up, or None."""
        failed = None
        try:
            self._batch.step(active, nstep=self._substeps)
        except SimulationError as error:
            failed = error.ids
        if self._formulas.contact_forces:
            forces, scratch = self._fields["cfrc_ext"], self._scratch
            for slot in active.tolist():
                self._batch.get_data(slot, scratch)
                mujoco.mj_rnePostConstraint(self._model, scratch)
                forces[slot] = scratch.cfrc_ext
        return failed
