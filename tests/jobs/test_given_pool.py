"""`fit --data.pool`: the pool is used as it is, and words by which it was not made are refused."""

import dataclasses

import pytest
import yaml

from lightning_pz import fit
from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import expand_presets
from lightning_pz.jobs.fit import prepare_fit
from lightning_pz.jobs.fit_identity import check_pool_words
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.recipe import RandomRecipe

TINY = [
    "--policy", "small", "--policy.hidden", "[8, 8]", "--model.latent_dim", "2", "--model.encoder_widths", "[8]",
    "--model.decoder_widths", "[8]", "--data.batch_size", "16", "--data.states_per_step", "8", "--data.steps_per_epoch", "4",
    "--trainer.max_steps", "4", "--trainer.log_every_n_steps", "2",
]  # fmt: skip
SAME = [
    "--data.recipe", "random", "--data.random.candidates=400", "--data.random", "{keep: 0.5, states: {probe: 16, source: uniform}}",
    "--data.random.prior.gain", "1",
]  # fmt: skip
OTHERS = {
    "recipe": (["--data.recipe", "grown"], r"--data\.recipe has no effect .* its recipe is random, not grown"),
    "grown": (["--data.grown.steps", "7"], r"--data\.grown\.steps has no effect .* its recipe is random, not grown"),
    "seed": (
        ["--data.random.seed=1"],
        r"--data\.random\.seed has no effect .* seed is 0, not 1\. Leave --data\.random\.seed",
    ),
    "mapping": (
        ["--data.random", "{states: {probe: 17}}"],
        r"--data\.random\.states\.probe .* states\.probe is 16, not 17",
    ),
    "source": (["--data.random.states.source", "rollouts"], r"states\.source is uniform, not"),
    "after": ([*SAME, "--data.random.prior.gain", "2"], r"prior\.gain is 1\.0, not 2\.0"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_words_by_which_a_pool_was_not_made(name, pool, tmp_path):
    words, told = OTHERS[name]
    with pytest.raises(UserError, match=told):
        fit.main(
            ["--env", "mountaincar", *TINY, "--data.pool", str(pool.folder), *words, "--logs", str(tmp_path / "logs")]
        )
    assert not (tmp_path / "logs").exists()


def test_words_by_which_it_was_made_presets_and_files_are_no_mistake(pool, tmp_path):
    logs = ["--logs", str(tmp_path / "logs")]
    done = fit.main(["--env", "mountaincar", *TINY, "--data.pool", str(pool.folder), *SAME, *logs])
    assert done.summary["pool"] == str(pool.folder)
    # Its own config.yaml holds the growth that another pool would come from.
    config = yaml.safe_load((done.folder / "config.yaml").read_text())
    assert config["data"]["grown"]["steps"] == GrownRecipe().steps and config["data"]["pool"] == str(pool.folder)
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({"data": {"pool": str(pool.folder), "recipe": "grown", "grown": {"seed": 5}}}))
    for file in (done.folder / "config.yaml", own):
        arguments = expand_presets("fit", ["--env", "mountaincar", "--config", str(file), *TINY, *logs])
        prepare_fit(arguments).check_pool_words(arguments)
        with pytest.raises(UserError, match=r"--data\.grown\.seed has no effect on the pool of --data\.pool"):
            prepare_fit([*arguments, "--data.grown.seed", "5"]).check_pool_words([*arguments, "--data.grown.seed", "5"])


def test_a_recipe_of_defaults_says_them_too(tmp_path):
    """An identity leaves the default emitter and source of states out; a word that names another is refused all the same."""
    made = {"kind": "grown", **GrownRecipe().identity()}
    assert "emitter" not in made and "source" not in made["states"]

    def check(recipe, *words, **more):
        wanted = {"random": RandomRecipe().identity(), "grown": recipe.identity()}
        check_pool_words(words, tmp_path, {**made, **more.pop("made", {})}, wanted, **more)

    for name, value in (("emitter", "cmaes"), ("outcome", "fourier"), ("seed", 3)):
        recipe, word = dataclasses.replace(GrownRecipe(), **{name: value}), f"--data.grown.{name}={value}"
        with pytest.raises(UserError, match=rf"{name} is .*, not {value}"):
            check(recipe, word)
        check(recipe, "--data.grown.size", str(recipe.size), "--data.grown.threads", "2")  # which decide nothing
        check(dataclasses.replace(recipe), word, made={"kind": "grown", **recipe.identity()})
    check(dataclasses.replace(GrownRecipe(), emitter="cmaes"), "--data.grown.emitter=cmaes", known_only=True)
    with pytest.raises(UserError, match="its recipe is archive, not random"):
        check(GrownRecipe(), "--data.recipe", "random", made={"kind": "archive"})
