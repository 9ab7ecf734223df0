"""Studies say which pools their fits have: what a preset chooses for the first command changes none of them.

A fit that was finished before presets chose, on a pool of that time, is found again by the same file.
"""

from pathlib import Path

import pytest

from lightning_pz.common.command_line import flat_settings
from lightning_pz.common.errors import UserError
from lightning_pz.envs import presets
from lightning_pz.envs.presets import conf_dir, load_preset, merge, preset_names
from lightning_pz.jobs.fit import prepare_fit
from sweeps.__main__ import SEARCHES
from sweeps.compare import load_comparison
from sweeps.few_episodes.few_grid import load_few_episodes
from sweeps.fits import seeded_fits
from sweeps.growth import load_ways
from sweeps.options import SearchOptions
from sweeps.optuna_study.command import study_identity
from sweeps.optuna_study.plan import UNSAID
from sweeps.optuna_study.searches import study_runs
from sweeps.optuna_study.study import SharedStudy
from sweeps.recovery import load_recovery

MUJOCO = ("halfcheetah", "hopper", "reacher")


def fits_of(study: str, env: str):
    """Return every fit of a shipped study on an environment."""
    path = conf_dir() / "sweep" / f"{study}.yaml"
    if study in SEARCHES:
        return [r.make_fit(p) for r in study_runs(study, SearchOptions(env=env)) for p in r.plan.corners(r.policies)]
    if study in ("compare", "grown"):
        found = load_comparison(path).environments
        return found[env].make_fits(env, "logs") if env in found else []
    if study in ("few_episodes", "pretraining", "reuse"):
        where = load_few_episodes(path).environments.get(env)
        if where is None:
            return []
        pools = where.pools.values()
        return [fit for p in pools for fit in seeded_fits(p.run, env, where.policy, p.fit, "logs", range(p.seeds))]
    if study == "growth":
        ways = load_ways(env, path)
        return [fit for name in ways.variants for fit in ways.make_fits(env, "logs", name)]
    return load_recovery(env, path)[0].make_fits(env, "logs")


def without_recipe(kind: str, name: str):
    """Return a preset as it was before presets chose recipes."""
    preset = load_preset(kind, name)
    own = {key: value for key, value in flat_settings(preset.get("fit", {})).items() if key not in UNSAID}
    plain: dict = {}
    for key, value in own.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        plain = merge(plain, value)
    return {**{key: value for key, value in preset.items() if key != "fit"}, "fit": plain}


STUDIES = sorted({path.stem for path in (conf_dir() / "sweep").glob("*.yaml")} - {"compression"})  # which fits nothing


@pytest.mark.parametrize("env", [*preset_names("env"), "Walker2d-v5"])
def test_one_folder_is_one_fit_for_all_studies(env):
    """Else the second study finds a fit of other settings where its own is to lie."""
    found: dict[Path, tuple[str, dict]] = {}
    for study in STUDIES:
        try:
            fits = fits_of(study, env)
        except UserError:  # a study of other environments
            continue
        for fit in fits:
            # Where no preset has a recipe, what is left out is the default.
            own = {k: v for k, v in fit.settings.items() if env in MUJOCO or UNSAID.get(k) != v}
            other, settings = found.setdefault(fit.folder, (study, own))
            assert settings == own, f"{fit.folder} of {other} and {study}"
    assert found or env not in MUJOCO


@pytest.mark.parametrize("env", preset_names("env"))
def test_a_preset_before_is_what_fit_yaml_says(env, monkeypatch):
    """The double that the next test compares with is what it says it is."""
    monkeypatch.setattr(presets, "load_preset", without_recipe)
    data = prepare_fit(presets.expand_presets("fit", ["--env", env])).datamodule
    assert data.own.kind == "random" and data.grown.steps == 10_000_000


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_no_study_depends_on_the_recipe_of_a_preset(study, monkeypatch):
    env = "hopper" if study == "purposeful" else "halfcheetah" if study != "compare" else "reacher"
    # The last fit of each kind of pool: all others have the same settings of pools.
    fits = {str({k: v for k, v in fit.settings.items() if k.startswith("data.")}): fit for fit in fits_of(study, env)}
    assert fits
    for fit in [*fits.values()][:4]:
        now = prepare_fit(presets.expand_presets("fit", fit.arguments())).datamodule
        with monkeypatch.context() as patch:
            patch.setattr(presets, "load_preset", without_recipe)
            own = {key: value for key, value in fit.settings.items() if UNSAID.get(key) != value}
            words = [*fit.arguments()[:6], *(f"--{key}={_text(value)}" for key, value in own.items())]
            before = prepare_fit(presets.expand_presets("fit", words)).datamodule
        assert now.own == before.own and now.folder == before.folder, fit.name


def _text(value):
    return str(value).lower() if isinstance(value, bool) else str(value).replace("'", '"')


@pytest.mark.parametrize("study", STUDIES)
def test_every_fit_of_a_preset_that_grows_names_its_recipe(study):
    for env in MUJOCO:
        for fit in fits_of(study, env):
            assert fit.settings["data.recipe"] in ("random", "grown")
            steps = fit.settings.get("data.grown.steps")
            varies = study in ("pretraining", "few_episodes") and steps
            assert fit.settings["data.recipe"] == "random" or steps == 10_000_000 or varies


def test_a_study_begun_before_goes_on(tmp_path):
    """Its record holds neither recipe nor steps; a file that names others, or leaves them to a preset, is refused."""
    for name in ("latent_dim", "purposeful"):
        (run,) = study_runs(name, SearchOptions(env="hopper", logs=str(tmp_path)))
        identity = study_identity(run)
        before = {key: value for key, value in identity["fit"].items() if key not in UNSAID}
        assert before != identity["fit"]
        SharedStudy(name, tmp_path / name, None, "minimize").agree(identity | {"fit": before}, run.source)
        SharedStudy(name, tmp_path / name, None, "minimize").agree(identity, run.source)
    # Someone's own file from before, which left the recipe to the command.
    path = tmp_path / "mine.yaml"
    text = Path(conf_dir() / "sweep" / "latent_dim.yaml").read_text()
    path.write_text(text.replace("data.recipe: random, ", ""))
    (run,) = study_runs("latent_dim", SearchOptions(env="hopper", grid=str(path)))
    with pytest.raises(UserError, match=r"begun with other settings.*fit\.data\.recipe is .absent., not .grown"):
        SharedStudy("latent_dim", tmp_path / "latent_dim", None, "minimize").agree(study_identity(run), path)
    (run,) = study_runs("latent_dim", SearchOptions(env="mountaincar", grid=str(path)))
    assert study_identity(run)["fit"] == {"trainer.max_steps": 3000}
