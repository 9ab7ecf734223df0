"""The help of every command: short, on 80 columns, with every option, its choices and the shipped defaults."""

import subprocess
import sys

import pytest
import yaml

from lightning_pz import collect, compress, evaluate, export, finetune, fit, report
from lightning_pz.common.command_line import CommandParser
from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import conf_dir

COMMANDS = {
    "fit": (fit, []), "collect": (collect, []), "collect grown": (collect, ["--recipe", "grown"]),
    "collect archive": (collect, ["--recipe", "archive"]),
    "evaluate": (evaluate, []), "finetune": (finetune, []), "compress": (compress, []), "report": (report, []),
    "export": (export, []),
}  # fmt: skip
CHOICES = {
    "fit": {"model.loss": "behavior_visited", "data.held_out": "climbs", "data.grown.emitter": "iso_line"},
    "collect": {"store": "params", "states.source": "uniform", "prior.initializer": "orthogonal", "recipe": "grown"},
    "evaluate": {"latents": "gaussian"}, "finetune": {"algorithm": "parameter_pgpe", "latents": "gaussian"},
}  # fmt: skip

LINKED = ("data.env", "data.policy", "data.logs", "data.seed", "data.with_params", "data.with_visited")
"""Keys that no option sets: other options do."""


def shown(capsys, main, words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    text = capsys.readouterr().out
    assert stop.value.code == 0 and max(map(len, text.splitlines())) < 80
    return text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_short_and_readable_and_names_every_option(name, capsys, monkeypatch):
    command, words = COMMANDS[name]
    parsers: list[CommandParser] = []
    keep = lambda self, *words, own=CommandParser.help_of: parsers.append(self) or own(self, *words)  # noqa: E731
    monkeypatch.setattr(CommandParser, "help_of", keep)
    summary = shown(capsys, command.main, [*words, "--help"])
    assert len(summary.splitlines()) <= 120 and "usage: python -m lightning_pz." in summary
    files = [line for line in command.__doc__.splitlines() if line.startswith("    ")]
    assert all(f"\n  {line.split()[0]} " in summary for line in files)
    whole = shown(capsys, command.main, [*words, "--help", "all"])
    assert " --> " not in whole  # what sets another option is no option
    flags = set(parsers[-1].get_defaults().keys()) - {"config", "__default_config__"}
    for key in (key for key in flags if not key.startswith(LINKED)):
        entry = whole.split(f"\n  --{key} ", 1) if key != "folders" else whole.split("\n  folders ", 1)
        assert len(entry) == 2, key
        head, text = entry[1].split("\n", 1)
        assert len(head.split()) > 1 or text.startswith(" " * 24), f"{key} has no sentence"
    for key, choice in CHOICES.get(name, {}).items():
        entry = " ".join(whole.split(f"\n  --{key} ", 1)[1].split("\n  --")[0].split())
        assert choice in entry.split("(one of ")[1]


def test_a_section_a_shipped_default_and_a_section_that_there_is_not(capsys):
    text = shown(capsys, fit.main, ["--help=trainer"])
    assert "--trainer.gradient_clip_val" in text and "--model." not in text
    wanted = yaml.safe_load((conf_dir() / "fit.yaml").read_text())["trainer"]["max_steps"]
    assert f"default: {wanted})" in text.split("--trainer.max_steps", 1)[1].split("--trainer")[0]
    assert "--data.grown.states.probe" in shown(capsys, fit.main, ["--help", "data.grown"])
    assert "--store" in shown(capsys, collect.main, ["--help", "other"])
    text = shown(capsys, fit.main, ["--env", "mountaincar", "--trainer.strategy.help", "DDPStrategy"])
    assert "--trainer.strategy.process_group_backend" in text
    with pytest.raises(UserError, match=r"--help expects one of .*Did you mean 'trainer'"):
        fit.main(["--help", "trainr"])


@pytest.mark.parametrize(
    ("command", "key", "value"),
    [(fit, "data.grown.steps", 5_000_000), (collect, "steps", 5_000_000), (compress, "steps", 1_000_000)],
)
@pytest.mark.parametrize("words", [["--env", "halfcheetah", "--help", "all"], ["--help=all", "--env=halfcheetah"]])
def test_help_beside_an_environment_shows_its_defaults(command, key, value, words, capsys):
    text = " ".join(shown(capsys, command.main, words).split(f"\n  --{key} ", 1)[1].split("\n  --")[0].split())
    assert text.endswith(f"default: {value})")
    assert "(default: HalfCheetah-v5)" in " ".join(shown(capsys, command.main, words).split("--env.id ", 1)[1].split())


@pytest.mark.parametrize("command", [fit, collect, compress, evaluate])
def test_help_beside_an_environment_that_there_is_not_says_so(command):
    with pytest.raises(UserError, match=r"--env expects .*Did you mean 'halfcheetah'"):
        command.main(["--env", "halfcheeta", "--help"])


@pytest.mark.parametrize("module", ["finetune", "compress", "report", "export"])
def test_help_and_a_mistake_need_no_torch(module):
    script = (
        f"import sys\nfrom lightning_pz.{module} import main\nfrom lightning_pz.common.errors import UserError\n"
        "for words in (['--help'], ['--help', 'all'], ['--env', 'mountaincar', '--seedd', '3'], ['--seed', 'x']):\n"
        "    try:\n        main(words)\n"
        "    except UserError as error:\n        assert str(error).startswith(('there is no option', '--', 'which'))\n"
        "    except SystemExit:\n        continue\n"
        "print([name for name in ('torch', 'lightning') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--algorithm", "pgp"], "--algorithm expects one of pgpe, .*, but got 'pgp'. Did you mean 'pgpe'"),
        (["--latents", "gausian"], r"--latents expects one of density, gaussian.* Did you mean 'gaussian'"),
        (["--budget", "many"], "--budget expects a whole number, but got 'many'"),
        (["--widen", "x"], "--widen expects a number, but got 'x'"),
        (["--pgpe.populatoin", "4"], "there is no option --pgpe.populatoin. Did you mean '--pgpe.population'"),
        (["--task"], "--task expects a value, but nothing came after it"),
        (["--config", "{pgpe: {sgma: 1}}"], "--config expects a YAML file"),
        (["--progress", "maybe"], "--progress expects true or false, but got 'maybe'"),
    ],
)
def test_a_mistake_on_the_command_line_is_a_sentence(words, sentence):
    with pytest.raises(UserError, match=sentence):
        finetune.main(words)


def test_a_key_of_a_file_that_no_option_has_is_a_sentence(tmp_path):
    (tmp_path / "mine.yaml").write_text("pgpe: {sgma: 1}\n")
    with pytest.raises(UserError, match=r"there is no option --pgpe\.sgma\. Did you mean '--pgpe\.sigma'"):
        finetune.main(["--config", str(tmp_path / "mine.yaml")])
