"""Files of `conf/sweep/`: what they mean, what is refused, and that the shipped ones pass the real parsers."""

import dataclasses
import itertools
from pathlib import Path

import pytest
import yaml
from optuna.trial import FixedTrial

from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import conf_dir, preset_names
from sweeps.__main__ import SEARCHES
from sweeps.options import SearchOptions
from sweeps.optuna_study.command import check_run
from sweeps.optuna_study.plan import choose_policies, load_plan
from sweeps.optuna_study.searches import StudyRun, study_runs
from sweeps.optuna_study.space import from_params, search_space, suggest, to_params
from tests.sweeps.conftest import settings


def plan_of(tmp_path, **changes):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({"default": settings(**changes)}))
    return load_plan(path, "mountaincar")


def fit_of(plan, point):
    """Return the fit of a point of the study `s`."""
    options = SearchOptions(logs="logs")
    return StudyRun("s", "hopper", "hopper", Path("plan.yaml"), plan, list(plan.policies), options).make_fit(point)


def tpe(spec):
    return {"sampler": "tpe", "search": {"model.dropout": spec}}


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
        assert suggest(FixedTrial(params), plan) == params
    names = [fit_of(plan, point).name for point in points]
    assert len(set(names)) == len(points) == 8
    assert names[0] == "s-small-k2-gain-0.5-initializer-orthogonal-hidden-3-seed0"


def test_settings_of_a_policy_beat_those_of_all_and_searched_ones_beat_both(tmp_path):
    plan = plan_of(tmp_path, policies={"small": {"trainer.max_steps": 7, "model.latent_dim": 9}})
    fit = fit_of(plan, {"policy": "small", "seed_everything": 1, "model.latent_dim": 2})
    assert (fit.settings["trainer.max_steps"], fit.settings["model.latent_dim"]) == (7, 2)


def test_widths_are_searched_by_width_and_depth(tmp_path):
    plan = plan_of(tmp_path, sampler="tpe", search={"model.encoder_widths": {"width": [8, 16], "depth": [1, 3]}})
    params = {"policy": "small", "model.encoder_widths.width": 16, "model.encoder_widths.depth": 3}
    assert from_params(plan, params)["model.encoder_widths"] == [16, 16, 16]
    assert params.keys() == search_space(plan).keys()
    assert [corner["model.encoder_widths"] for corner in plan.corners(["small"])] == [[8], [16, 16, 16]]


LOW, CONFIRM = {"low": 0.1, "high": 0.2}, {"confirm": {"best": 1, "seeds": [7]}, "seeds": [0]}


def test_a_search_may_confirm_what_held_out_policies_choose_and_a_grid_of_one_seed_may_be_pruned(tmp_path):
    assert plan_of(tmp_path, **tpe(LOW), **CONFIRM, metric="val_fvu").confirm.best == 1
    assert plan_of(tmp_path, pruner="median", seeds=[0]).pruner == "median"


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"serch": {}}, "Did you mean 'search'"),
        ({"search": {}}, "'search' expects at least one entry"),
        ({"search": 3}, "search expects a mapping of settings, but got 3"),
        ({"search": {"model.latent_dim": 3}}, "search.model.latent_dim: a grid expects a list of values, .* but got 3"),
        ({"search": {"model.latent_dim": []}}, "search.model.latent_dim: a grid expects a list of values"),
        ({"search": {"model.latent_dim": [1, 2, 1]}}, "lists 1 twice"),
        ({"search": {"seed_everything": [1]}}, "cannot vary seed_everything: list it in seeds"),
        ({"seeds": []}, "'seeds' expects at least one entry"),
        ({"seeds": 3}, r"seeds expects a list of whole numbers, such as \[0, 1\], but got 3"),
        ({"seeds": [0, -1]}, "seeds expects a whole number from 0 to 4294967295, but got -1"),
        ({"seeds": [2**32]}, "seeds expects a whole number from 0 to 4294967295, but got 4294967296"),
        ({"seeds": [1, 1]}, "seeds lists 1 twice"),
        ({"seeds": [1.5]}, "seeds expects a whole number, but got 1.5"),
        ({"policies": ["small"]}, r"policies expects a mapping of settings, but got \['small'\]"),
        ({"policies": {"../small": {}}}, "--policies expects a name for folders"),
        ({"fit": [1]}, r"fit expects a mapping of settings, but got \[1\]"),
        ({"sampler": "random"}, "sampler expects one of grid, tpe, but got 'random'"),
        ({"sampler": "tpee"}, "Did you mean 'tpe'"),
        ({"pruner": "medain"}, "Did you mean 'median'"),
        ({"metric": "test_fvuu"}, "metric expects one of .*Did you mean 'test_fvu'"),
        ({"metric": "novelty_contrast"}, "metric expects one of"),
        ({"trials": 0}, "trials expects a whole number of at least 1, but got 0"),
        ({"trials": "many"}, "trials expects a whole number, but got 'many'"),
        ({"pruner_startup": -1}, "pruner_startup expects a whole number of at least 0"),
        ({"pruner_warmup": -1}, "pruner_warmup expects a whole number of at least 0"),
        ({"seed": -1}, "seed expects a whole number"),
        ({"sampler": "tpe", "search": {"model.dropout": [0.1]}}, r"\{low, high, log, step\}"),
        (tpe({"low": 0.2, "high": 0.1}), "model.dropout: a range expects low below high, but got low 0.2 and high 0.1"),
        (tpe({"low": 0.1, "high": 0.1}), "low below high"),
        (tpe({"low": "1e-4", "high": 0.1}), r"low expects a number.*\(YAML reads 1e-3 as a word\), but got '1e-4'"),
        (tpe({"low": 0.0, "high": 0.1, "log": True}), "a logarithmic range expects low above 0"),
        (tpe({"low": 0.0, "high": 0.1, "step": -1}), "step expects a number above 0, but got -1"),
        (tpe({"low": 1, "high": 9, "step": 0.5}), "step expects a whole number above 0, but got 0.5"),
        (tpe({"low": 0.0, "high": 0.1, "log": "yes"}), "log expects true or false"),
        (tpe({"choices": []}), "choices expects a list with at least one entry"),
        (tpe({"width": [8, 0], "depth": [1]}), "width expects whole numbers of at least 1"),
        (tpe({"width": 8, "depth": [1]}), "width expects a list"),
        ({"confirm": {"best": 2}}, "confirm expects the key 'seeds'"),
        ({"confirm": {"best": 0, "seeds": [7]}}, "confirm: best expects a whole number of at least 1, but got 0"),
        ({"confirm": {"best": 1, "seeds": 7}}, "seeds expects a list of whole numbers"),
        ({"confirm": {"best": 1, "seeds": [7], "p_threshold": 2}}, "p_threshold expects a number between 0 and 1"),
        ({"confirm": {"best": 1, "seeds": [7], "worst": 1}}, "got 'worst'"),
        (tpe(LOW) | CONFIRM, "metric expects val_fvu beside confirm, .* But got 'test_fvu'"),
        (tpe(LOW) | CONFIRM | {"metric": "test_fvu_k2"}, "metric expects val_fvu .* But got 'test_fvu_k2'"),
        ({"pruner": "median"}, "pruner expects none in a grid of several seeds, but got 'median'"),
        ({"fit": {"data.pool": "p", "data.recipe": "random"}}, "data.recipe of policies small would have no effect"),
        (
            {"fit": {"data.pool": "p"}, "search": {"data.grown.steps": [1, 2]}},
            "data.grown.steps of .* no effect beside",
        ),
        ({"search": {"data.pool": ["p", "q"]}, "fit": {"data.random.seed": 1}}, "data.random.seed of .* no effect"),
        ({"finetune": {"task": "left"}, "metric": "val_fvu"}, "metric is of no use beside finetune"),
        ({"finetune": {"task": "left"}, "pruner": "median"}, "pruner judges fits by FVU"),
        ({"finetune": {"task": "left"}, "confirm": {"best": 1, "seeds": [7]}}, "confirm judges fits by FVU"),
    ],
)
def test_bad_plans(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence) as told:
        plan_of(tmp_path, **changes)
    assert "plan.yaml" in str(told.value)


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"default: {search: [}", "expects YAML, but"),
        ("default: {} # na\u00efve".encode("latin-1"), "expects UTF-8 text, but byte 16 is none"),
        (b"- 1", "expects sections"),
        (b"", "expects sections"),
        (b"defualt: {}", "a section is .*Did you mean 'default'"),
        (b"mountiancar: {}", "Did you mean 'mountaincar'"),
        (b"default: 3", "default expects a mapping of settings, but got 3"),
        (b"environments: hopper", "environments expects a list of words"),
    ],
)
def test_files_that_are_no_study(tmp_path, content, sentence):
    path = tmp_path / "plan.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=sentence) as told:
        study_runs("latent_dim", SearchOptions(env="mountaincar", grid=str(path)))
    assert "plan.yaml" in str(told.value)


def test_settings_that_a_slug_does_not_tell_apart_have_names_of_their_own(tmp_path):
    values = [-1, 1, 1e20, 1e-20, "a b", "a-b", "a/b", "..", [4, 4], [4, -4], [[4], [4]], None, True]
    plan = plan_of(tmp_path, search={"model.latent_dim": [2], "data.random.prior.x": values})
    names = [fit_of(plan, point).name for point in plan.points(["small"])]
    assert len(set(names)) == len(names) and not any("/" in name or ".." in name for name in names)
    twins = plan_of(tmp_path, search={"data.random.seed": [1, 2], "data.grown.seed": [1, 2]}, seeds=[0])
    fits = [fit_of(twins, point) for point in twins.points(["small"])]
    assert fits[1].name == "s-small-data.grown.seed-1-data.random.seed-2-seed0"


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
    (run,) = study_runs(study, SearchOptions(env="mountaincar", logs=str(tmp_path)))
    # Of a grid's seeds, one is as good as another, and so are its sizes.
    searched = {k: v[:: max(1, len(v) - 1)] if isinstance(v, list) else v for k, v in run.plan.search.items()}
    policies = run.policies if study == "width" else run.policies[:1]
    plan = dataclasses.replace(run.plan, seeds=run.plan.seeds[:1], search=searched)
    check_run(dataclasses.replace(run, plan=plan, policies=policies))
    assert not list(tmp_path.iterdir())


def test_every_environment_of_the_cross_table_is_a_preset():
    known = yaml.safe_load((conf_dir() / "sweep" / "dimension.yaml").read_text())["environments"]
    assert set(known) <= set(preset_names("env"))
