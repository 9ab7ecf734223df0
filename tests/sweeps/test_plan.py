"""Files of `conf/sweep/`: what they mean, what is refused, and that the shipped ones pass the real parsers."""

import itertools

import pytest
import yaml

from lightning_pz.errors import UserError
from lightning_pz.presets import conf_dir, preset_names
from sweeps.__main__ import SEARCHES
from sweeps.command import _check, _job, _parse
from sweeps.plan import choose_policies, load_plan
from sweeps.space import distributions, from_params, to_params
from tests.sweeps.conftest import settings


def plan_of(tmp_path, **changes):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({"default": settings(**changes)}))
    return load_plan(path, "mountaincar")


def test_a_grid_is_every_combination_one_seed_after_the_other(tmp_path):
    plan = plan_of(tmp_path, policies={"small": {}, "medium": {}})
    points = plan.points(["small", "medium"])
    assert {tuple(point.values()) for point in points} == set(itertools.product(["small", "medium"], [0, 1], [1, 2]))
    assert [point["seed_everything"] for point in points] == [0] * 4 + [1] * 4


def test_points_survive_optuna_and_name_their_folders(tmp_path):
    search = {"model.latent_dim": [2], "data.random.prior.gain": [0.5, 2.0], "policy.hidden": [[3], [4, 4]]}
    plan = plan_of(tmp_path, search=search | {"data.random.prior.initializer": ["orthogonal"]})
    points = plan.points(["small"])
    for point in points:
        params = to_params(plan, point)
        assert from_params(plan, params) == point
        assert all(
            distributions(plan)[key]._contains(distributions(plan)[key].to_internal_repr(params[key])) for key in params
        )
    names = [plan.make_fit("s", "hopper", "hopper", "logs", point).name for point in points]
    assert len(set(names)) == len(points) == 8
    assert names[0] == "s-small-k2-gain-0.5-initializer-orthogonal-hidden-3-seed0"


def test_settings_of_a_policy_beat_those_of_all_and_searched_ones_beat_both(tmp_path):
    plan = plan_of(tmp_path, policies={"small": {"trainer.max_steps": 7, "model.latent_dim": 9}})
    fit = plan.make_fit(
        "s", "hopper", "hopper", "logs", {"policy": "small", "seed_everything": 1, "model.latent_dim": 2}
    )
    assert (fit.settings["trainer.max_steps"], fit.settings["model.latent_dim"]) == (7, 2)


def test_widths_are_searched_by_width_and_depth(tmp_path):
    plan = plan_of(tmp_path, sampler="tpe", search={"model.encoder_widths": {"width": [8, 16], "depth": [1, 3]}})
    params = {"policy": "small", "model.encoder_widths.width": 16, "model.encoder_widths.depth": 3}
    assert from_params(plan, params)["model.encoder_widths"] == [16, 16, 16]
    assert params.keys() == distributions(plan).keys()
    assert [corner["model.encoder_widths"] for corner in plan.corners(["small"])] == [[8], [16, 16, 16]]


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"serch": {}}, "Did you mean 'search'"),
        ({"search": {}}, "'search' with at least one entry"),
        ({"seeds": []}, "'seeds' with at least one entry"),
        ({"sampler": "random"}, "sampler expects one of grid, tpe"),
        ({"search": {"model.latent_dim": 3}}, "list of values for model.latent_dim, but got 3"),
        ({"sampler": "tpe", "search": {"model.dropout": [0.1]}}, r"\{low, high, log, step\}"),
        ({"confirm": {"best": 2}}, "best, seeds and p_threshold"),
    ],
)
def test_bad_plans(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        plan_of(tmp_path, **changes)


def test_policies_are_those_of_the_plan_or_presets(tmp_path):
    plan = plan_of(tmp_path)
    assert choose_policies(plan, None) == ["small"]
    assert choose_policies(plan, "large,small") == ["large", "small"]
    with pytest.raises(UserError, match="Did you mean 'medium'"):
        choose_policies(plan, "small,meduim")


@pytest.mark.parametrize("study", SEARCHES)
def test_shipped_studies_pass_the_real_parsers(study, tmp_path):
    path = conf_dir() / "sweep" / f"{study}.yaml"
    for env in preset_names("env"):
        assert load_plan(path, env).points or load_plan(path, env).trials
    options = _parse(study, ["--logs", str(tmp_path)])
    job = _job(study, "mountaincar", path, options)
    # Of a grid's seeds, one is as good as another.
    object.__setattr__(job.plan, "seeds", job.plan.seeds[:1])
    _check(job)
    assert not list(tmp_path.iterdir())


def test_every_environment_of_the_cross_table_is_a_preset():
    assert set(yaml.safe_load((conf_dir() / "sweep" / "dimension.yaml").read_text())["environments"]) == set(
        preset_names("env")
    )
