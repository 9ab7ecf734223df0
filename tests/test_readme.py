"""Every command of the README and of all guides runs, with tiny settings; keys, links and Python in them are right."""

import itertools
import re
import shlex
from pathlib import Path

import gymnasium
import pytest
import torch
import yaml

import sweeps.__main__ as sweeps
from lightning_pz import collect, compress, evaluate, export, finetune, fit, report
from lightning_pz.envs.presets import default_recipe, given_keys, take_option
from lightning_pz.jobs.evaluate_words import TAKES, names_file
from lightning_pz.policy import Layout
from lightning_pz.policy.saved import SavedPolicy

ROOT = Path(__file__).parent.parent
GUIDES = [
    ROOT / "README.md", *sorted(ROOT.glob("lightning_pz/*/README.md")), ROOT / "sweeps" / "README.md",
    ROOT / "lightning_pz" / "jobs" / "CLUSTERS.md",
    *sorted((ROOT / ".github").glob("*.md")), *sorted((ROOT / "sweeps" / "results").glob("*.md")),
]  # fmt: skip
README = "\n\n".join(path.read_text() for path in GUIDES)
COMMANDS = sorted(set(re.findall(r"^python -m (?:lightning_pz\.\w+|sweeps) .*$", README, re.MULTILINE)))
STATES = "{probe: 16, train: 16, val: 8, test: 8, episodes: 2}"
GROWN = {
    "steps": "4000", "first": "40", "size": "60", "horizon": "20", "directions": "4", "population": "4", "generations": "4",
    "latent_rounds": "0", "neighbors": "5", "states": STATES,
}  # fmt: skip
TINY = {
    "fit": [
        "--data.steps_per_epoch", "2", "--trainer.max_steps", "2", "--trainer.log_every_n_steps", "1", "--data.batch_size", "8",
        "--model.encoder_widths", "[8]", "--model.decoder_widths", "[8]", "--data.states_per_step", "4",
    ],
    "finetune": [
        "--budget", "6000", "--seeds", "1", "--pgpe.population", "2", "--starts", "1", "--test_episodes", "2",
        "--evaluation_episodes", "2", "--off_policy.critic_updates", "2", "--off_policy.joint_updates", "2",
        "--off_policy.best", "5", "--off_policy.random", "5", "--off_policy.hidden", "[8]", "--off_policy.batch", "8",
    ],
    "evaluate": ["--policies", "4", "--episodes", "1", "--draws", "5", "--fresh_episodes", "2"],
    "compress": [
        "--steps", "200", "--episodes", "2", "--distill.steps", "40", "--distill.episodes", "1", "--distill.held_out", "1",
        "--distill.rounds", "1", "--distill.batch_size", "32", "--progress", "false",
    ],
}  # fmt: skip
POOLS = {
    "random": {"candidates": "100", "neighbors": "3", "states": STATES}, "grown": GROWN,
    "archive": {"neighbors": "3", "states": STATES},
}  # fmt: skip


def test_there_are_commands():
    assert len(COMMANDS) >= 20
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_are_there(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        assert target.startswith("http") or (path.parent / target).exists(), target


def test_the_python_of_the_front_page_runs(fitted):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDES[0].read_text(), re.DOTALL)
    code = re.sub(r'"logs/[^"]*best.ckpt"', repr(fitted.summary["checkpoint"]), code).replace("(10, 3)", "(10, 2)")
    names = {}
    exec(code, names)
    assert names["actions"].shape == (10, 1, 1) and names["latents"].shape == (10, 2)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs(command, tmp_path, monkeypatch, fitted):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command, comments=True)
    if "--on" in words:  # here is no cluster
        at = words.index("--on") + 1
        words[at] = "slurm:local" if words[at] == "slurm" else words[at].partition(":")[0]
        words += ["--workers", "1", "--seeds", "1"]
    if "robot.xml" in words:
        shipped = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / "half_cheetah.xml"
        (tmp_path / "robot.xml").write_text(shipped.read_text())
    name, arguments = words[2].removeprefix("lightning_pz."), words[3:]
    if name == "sweeps":
        study(arguments)
        return
    checkpoint = fitted.summary["checkpoint"]
    if "pool_best" in words:
        grown = ["--env", "hopper", "--model.latent_dim", "2"]  # short episodes
        checkpoint = fit.main(grown + tiny("fit", grown)).summary["checkpoint"]
    if "--translate" in words:
        several = ["--env", "hopper", "--decodes", "large", "--model.latent_dim", "2"]
        checkpoint = fit.main(several + tiny("fit", several)).summary["checkpoint"]
        arguments = [word.replace("policy.npz", str(policy_of_hopper())) for word in arguments]
    if name == "fit" and "--data.pool" in words:
        for folder in words[words.index("--data.pool") + 1].split(","):
            make = ["--env", words[words.index("--env") + 1], "--policy", folder.rpartition("-")[2], "--pool", folder]
            collect.main(make + tiny("collect", make))
    if name == "report":
        finetune.main(["--checkpoint", checkpoint, *TINY["finetune"]])
        report.main(arguments)
        return
    if name == "compress":
        small(arguments)
        return
    if (name == "export" and "--pool" in words) or "archive" in words:
        make = ["--env", "hopper", "--pool", "logs/pools/hopper"]
        collect.main(make + tiny("collect", make))
        pools = ["--pool", "logs/pools/hopper"]
        if "archive" in words:
            export.main([*pools, "--to", words[words.index("--archive") + 1]])
    if name == "export" and "--pool" in words:
        export.main(arguments)
        return
    if name == "export":
        saved = str(policy_of_hopper().rename("saved.npz"))
        arguments = [checkpoint if word.endswith(".ckpt") else word for word in arguments]
        if arguments[1] == "model.zip":
            export.main(["--policy", saved, "--to", "model.zip", "--env", "hopper"])
        else:
            arguments = [saved if word == "policy.npz" else word for word in arguments]
        export.main(arguments)
        return
    if name in ("evaluate", "finetune"):
        pool = fitted.summary["pool"]
        arguments = [checkpoint if word.endswith(".ckpt") else word for word in arguments]
        arguments = [pool if word.startswith("logs/pools/") else word for word in arguments]
    if "last" in arguments or any(word.endswith("config.yaml") for word in arguments):
        # These go on from an earlier run of the same settings; make it first.
        first = fit.main(["--env", "halfcheetah", *tiny("fit", ["--env", "halfcheetah"])])
        arguments = [str(first.folder / "config.yaml") if word.endswith("config.yaml") else word for word in arguments]
    commands = {"fit": fit, "collect": collect, "evaluate": evaluate, "finetune": finetune}
    few = ["--budget", "600"] if "--space" in words else []  # it learns at every step
    commands[name].main([*arguments, *tiny(name, arguments), *few])


def tiny(name, arguments):
    """Return settings that make a command quick, those of its pool for the recipe that its arguments ask for."""
    if name not in ("fit", "collect"):
        return list(itertools.chain(*taken(arguments, list(zip(TINY[name][::2], TINY[name][1::2], strict=True)))))
    own = given_keys(arguments)
    asked = own.get("data", {}).get("recipe") if name == "fit" else own.get("recipe")
    flag, prefix = ("--data.recipe", "--data.{}.") if name == "fit" else ("--recipe", "--")
    kind = take_option(arguments, flag)[0] or asked or default_recipe(arguments)
    pool = [word for key, value in POOLS[kind].items() for word in (prefix.format(kind) + key, value)]
    if any(word.endswith("paper.yaml") for word in arguments):  # which keeps a tenth
        pool += ["--data.random.candidates", "400"]
    return [*TINY.get(name, []), *pool, "--env.horizon", "60"]


def taken(arguments, pairs):
    """Return the pairs of a flag and a value that a measurement beside the evaluation itself depends on; it refuses others."""
    if "--elsewhere" in arguments:
        mode = "--elsewhere"
    elif "--translate" in arguments:
        is_file = names_file(arguments[arguments.index("--translate") + 1])
        mode = "--translate FILE.npz,TO" if is_file else "--translate FROM,TO"
    else:
        return pairs
    return [pair for pair in pairs if pair[0].removeprefix("--") in TAKES[mode][1]]


def policy_of_hopper():
    """Write a policy for Hopper, policy.npz, and return its path."""
    layout, box, zeros = Layout(11, (8,), 3), torch.ones(3), torch.zeros(11)
    SavedPolicy(layout, torch.zeros(layout.num_params) + 0.1, zeros, zeros + 1, -box, box).save(Path("policy.npz"))
    return Path("policy.npz")


def small(arguments):
    """Compress at tiny settings; a policy that the README has from elsewhere is made first."""
    if "--policy" in arguments:
        place = arguments.index("--policy") + 1
        if arguments[place].endswith(".zip"):
            compress.main(["--env", "halfcheetah", "--algorithm", "sac", "--method", "none", *TINY["compress"]])
            arguments[place] = str(next(Path("logs/compress").rglob("model.zip")))
        else:
            arguments[place] = str(policy_of_hopper())
    compress.main([*arguments, *TINY["compress"]])


def study(arguments):
    """Run a study on a tiny grid of its own; a report is of a study that ran before."""
    random = {f"data.random.{key}": yaml.safe_load(value) for key, value in POOLS["random"].items()}
    name, small = arguments[0], settings("fit") | {"data.recipe": "random"} | random
    grid = {"policies": {"small": {}}, "seeds": [0], "fit": small}
    if name == "manifolds":
        sweeps.main([*arguments, "--points", "120", "--clouds", "2"])
        return
    if name == "report":
        studies = list(itertools.takewhile(lambda word: not word.startswith("-"), arguments[1:]))
        for one in studies:
            study([one, *arguments[1 + len(studies) :]])
        sweeps.main(arguments)
        return
    if name == "compare":
        world = {"run": "tiny", "policy": "small", "fit": small, "evaluate": settings("evaluate"), "tasks": ["left"]}
        text = {"environments": {"mountaincar": world}, "algorithms": {"pgpe": {}}, "finetune": settings("finetune")}
    else:
        if name in sweeps.SEARCHES:
            grid["search"] = {"model.latent_dim": [1]}
            arguments = [*arguments, "--workers", "1"]
        else:
            grid |= {"latent_dims": [1], "evaluate": settings("evaluate")}
        if name == "finetune":
            grid["finetune"] = settings("finetune")
        text = {"default": grid} | ({} if name == "recovery" else {"environments": ["mountaincar", "reacher"]})
    Path("grid.yaml").write_text(yaml.safe_dump(text))
    sweeps.main([*arguments, "--grid", "grid.yaml"])


def settings(command):
    """Return the tiny settings of a command in dotted keys."""
    words = TINY[command]
    return {key[2:]: yaml.safe_load(value) for key, value in zip(words[::2], words[1::2], strict=True)}


def test_summary_keys_are_those_documented(tmp_path):
    result = fit.main(["--env", "mountaincar", *tiny("fit", ["--env", "mountaincar"]), "--logs", str(tmp_path)])
    assert result.summary.keys() == documented("| key of `summary.json` |")


@pytest.mark.slow
def test_summary_keys_of_a_grown_pool_are_those_documented(tmp_path):
    env = ["--env", "hopper"]
    summary = fit.main([*env, *tiny("fit", env), "--logs", str(tmp_path)]).summary
    tasks = ("standard", "forward", "backward", "jump")
    more = documented("| more keys, of a grown pool |")
    wanted = {key.replace("<task>", task) for key in more for task in (tasks if "<task>" in key else ("",))}
    assert summary.keys() == documented("| key of `summary.json` |") | wanted


def documented(head):
    """Return the keys in the table of the guides that begins so."""
    table = README.split(head)[1].split("\n\n")[0]
    return set(re.findall(r"^\| `([a-z_</>]+)` \|", table, re.MULTILINE))
