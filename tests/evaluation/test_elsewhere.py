"""FVU on policies of another pool: the test FVU on its own, the actions of the very policies elsewhere, and what is refused."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.evaluate import main
from lightning_pz.evaluation.elsewhere import measured_rows, to_others, transfer_fvu
from lightning_pz.evaluation.groups import find_pool, held_out_rows
from lightning_pz.fit import main as fit
from lightning_pz.policy import Layout, restandardize
from lightning_pz.pool.recipe import RandomRecipe, collect
from lightning_pz.pool.states import StateCounts
from lightning_pz.pool.store import Pool
from tests.conftest import SMALL_STATES, TINY_FIT


@pytest.fixture(scope="module")
def other(tmp_path_factory, car):
    """Make a pool of the same layout with policies, states and statistics of its own."""
    recipe = RandomRecipe(candidates=200, keep=0.5, neighbors=5, states=SMALL_STATES, seed=5)
    return collect(tmp_path_factory.mktemp("other") / "pool", car, Layout(2, (8, 8), 1), recipe, progress=False)


@pytest.fixture(scope="module", params=["behavior", "parameters"])
def trained(request, tmp_path_factory) -> tuple[BehaviorAutoencoder, Pool, dict]:
    """Finish a nested fit with policies of the layout above; returns model, pool and folder of the run."""
    logs = str(tmp_path_factory.mktemp("trained"))
    nested = ["--model.bottleneck", "nested", "--model.encoder", request.param, "--policy.hidden", "[8, 8]"]
    done = fit(["--env", "mountaincar", *TINY_FIT, *nested, "--logs", logs])
    model = load_autoencoder(done.summary["checkpoint"])
    return model, find_pool(model), done


@pytest.mark.slow
def test_on_its_own_pool_it_is_the_test_fvu_for_every_number_of_latents(trained):
    model, pool, done = trained
    with np.load(done.folder / "policy_errors.npz") as kept:
        rows, sizes = kept["rows"], kept["latent_dims"]
        expected = kept["error"].sum(1) / kept["spread"].sum()
    found = transfer_fvu(model, pool, len(rows))
    assert list(found) == list(sizes) == [1, 2]
    # The pool keeps actions in half precision.
    assert list(found.values()) == pytest.approx(list(expected), rel=2e-3)
    assert found[2] == pytest.approx(done.summary["test_fvu"], rel=2e-3)


def test_elsewhere_the_policies_are_those_of_the_other_pool_on_its_states(trained, other):
    model, own, _ = trained
    statistics = {"observation_mean": [-0.4, 0.01], "observation_std": [0.3, 0.02]}
    other = dataclasses.replace(other, meta=other.meta | statistics)
    params = other.params(measured_rows(model, other, 8))
    states = torch.from_numpy(other.arrays["states"][StateCounts(**other.meta["states"]).slices()["test"]].copy())
    # One policy after another, raw observation in, action of the box of Mountain Car (-1 to 1) out.
    actions, rebuilt = [], []
    with torch.no_grad():
        for policy in params.split(1):
            actions.append(other.network(policy, states[None]))
            latent = model.encode(restandardize(policy, other.network, model.policy))
            rebuilt.append(model.policy(model.decoder(latent), states[None]))
    own_actions = torch.cat(actions).double()
    error = (torch.cat(rebuilt) - own_actions).square().sum()
    expected = float(error / (own_actions - own_actions.mean(0)).square().sum())
    assert transfer_fvu(model, other, 8)[2] == pytest.approx(expected, rel=1e-4)
    found = to_others([model, model, model], [own, other, other])
    assert found[0] == transfer_fvu(model, other)[2] and found[1] == found[2] == transfer_fvu(model, own)[2]
    assert np.isnan(to_others([model, model], [own, own])).all()


def test_of_another_pool_any_policies_are_measured_and_the_split_stays_at_home(trained, other, monkeypatch):
    model, own, _ = trained
    assert sorted(measured_rows(model, other)) == list(range(len(other))) and len(other) > 8
    some = measured_rows(model, other, 8)
    assert len(set(some)) == 8 and list(some) == list(measured_rows(model, other, 8)) and sorted(some) != list(range(8))
    np.testing.assert_array_equal(measured_rows(model, own), held_out_rows(model, own, len(own)))
    whole = transfer_fvu(model, other)
    # A checkpoint of held-out climbs measures pools without any, such as a random one.
    description = model.hparams["description"]
    split = description["pool"]["split"] | {"held_out": "climbs"}
    monkeypatch.setitem(model.hparams, "description", description | {"pool": description["pool"] | {"split": split}})
    with pytest.raises(UserError, match="grown along directions"):
        held_out_rows(model, other, 8)
    assert transfer_fvu(model, other) == whole


@pytest.mark.slow
def test_the_command_tells_every_pool_and_plays_nothing(trained, other, tmp_path, capsys):
    model, own, done = trained
    checkpoint = done.summary["checkpoint"]
    main(["--checkpoint", checkpoint, "--elsewhere", str(other.folder), str(own.folder), "--logs", str(tmp_path)])
    printed = capsys.readouterr().out.splitlines()
    (path,) = tmp_path.rglob("*.csv")
    assert printed[-1] == str(path.parent) and not list(tmp_path.rglob("summary.json"))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["pool"], row["whose"], row["latents"]) for row in rows] == [
        (pool.folder.name, whose, k) for pool, whose in ((other, "other"), (own, "own")) for k in ("1", "2")
    ]
    assert float(rows[1]["fvu"]) == pytest.approx(transfer_fvu(model, other)[2], rel=1e-5)
    line = next(line for line in printed if other.folder.name in line and done.folder.name in line)
    assert line.split()[-2:] == [f"{float(row['fvu']):.3f}" for row in rows[:2]]


def test_a_pool_of_other_policies_is_refused(trained, other, tmp_path, car):
    done = trained[2]
    wider = collect(
        tmp_path / "wide",
        car,
        Layout(2, (9,), 1),
        RandomRecipe(candidates=80, neighbors=5, states=SMALL_STATES),
        progress=False,
    )
    command = ["--checkpoint", done.summary["checkpoint"], "--logs", str(tmp_path), "--elsewhere"]
    with pytest.raises(UserError, match=r"widths \(2, 9, 1\)"):
        main([*command, str(wider.folder)])
    with pytest.raises(UserError, match="one pool folder or more"):
        main(command)  # and does not play everything instead
    with pytest.raises(UserError, match=r"pool\.json"):
        main([*command, str(tmp_path / "nowhere")])
    foreign = json.loads((other.folder / "pool.json").read_text())
    foreign["env"]["id"] = "Pendulum-v1"
    shutil.copytree(other.folder, tmp_path / "foreign")
    (tmp_path / "foreign" / "pool.json").write_text(json.dumps(foreign))
    with pytest.raises(UserError, match="is for Pendulum-v1"):
        main([*command, str(tmp_path / "foreign")])
