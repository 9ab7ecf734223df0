"""Settings of Lightning's: the right result, or a sentence before anything is made."""

import errno
import math
import os
from pathlib import Path

import pytest

from lightning_pz import collect, fit
from lightning_pz.common.errors import UserError
from tests.conftest import TINY_FIT


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--trainer.overfit_batches", "1"], r"--trainer\.overfit_batches expects .*small pool"),
        (["--trainer.overfit_batches", "0.5"], r"--trainer\.overfit_batches expects"),
        (["--trainer.fast_dev_run", "true"], r"--trainer\.fast_dev_run expects"),
        (["--trainer.limit_val_batches", "0"], r"--trainer\.limit_val_batches expects 1\.0 in a fit, but got 0"),
        (["--trainer.limit_test_batches", "0.5"], r"--trainer\.limit_test_batches expects"),
        (["--trainer.limit_train_batches", "3"], r"--data\.steps_per_epoch says"),
        (["--trainer.check_val_every_n_epoch", "4"], r"first validation comes after 40 training steps, but .*after 30"),
        (
            ["--trainer.max_steps", "9"],
            r"first validation comes after 10 training steps.*--trainer\.max_steps to at least 10",
        ),
        (["--trainer.max_steps", "0"], r"--trainer\.max_steps expects at least 1"),
        (["--trainer.val_check_interval", "11"], r"--trainer\.val_check_interval expects"),
        (["--trainer.val_check_interval", "0.01"], r"--trainer\.val_check_interval expects"),
        (["--trainer.enable_checkpointing", "false"], r"--trainer\.enable_checkpointing expects"),
        (["--trainer.barebones", "true"], r"--trainer\.barebones expects"),
        (["--trainer.gradient_clip_algorithm", "volume"], r"--trainer: .*volume"),
        (["--trainer.accelerator", "abacus"], r"--trainer: .*abacus"),
        (["--checkpoint.save_top_k", "0"], r"--checkpoint\.save_top_k expects at least 1"),
        (["--checkpoint.save_top_k", "2"], r"one name for all of them"),
        (["--checkpoint.filename", "last"], r"--checkpoint\.filename expects"),
        (["--checkpoint.filename", "../best"], r"--checkpoint\.filename expects"),
        (["--checkpoint.monitor", "train_fvu"], r"--checkpoint\.monitor expects val_fvu"),
        (["--checkpoint.mode", "max"], r"--checkpoint\.mode expects min"),
        (["--checkpoint.every_n_train_steps", "5"], r"--checkpoint\.every_n_train_steps expects"),
        (["--checkpoint.dirpath", "elsewhere"], r"--checkpoint\.dirpath expects no value"),
        (["--early_stopping.monitor", "val_fuv"], r"--early_stopping\.monitor expects val_fvu or train_fvu"),
        (["--seed_everything", "-1"], r"--seed_everything expects a seed from 0 to 4294967295, but got -1"),
        (["--seed_everything", str(2**32)], r"--seed_everything expects a seed from 0"),
        (["--seed_everything", "false"], r"--seed_everything expects a seed"),
        (["--data.split_seed", "-1"], r"--data\.split_seed expects a seed"),
        (["--data.random.seed", str(2**32)], r"--seed expects a seed"),
        (["--probes.seed", "-1"], r"--probes\.seed expects a seed"),
        (["--env.horizon", "0"], r"--env\.horizon expects at least 1, but got 0"),
        (["--env.horizon", "-5"], r"--env\.horizon expects at least 1, but got -5"),
        (["--env.name", "../outside"], r"--env\.name expects a name"),
        (["--policy.name", "a/b"], r"--policy\.name expects a name"),
        (["--run_name", "../../outside"], r"--run_name expects a name"),
        (["--run_name", "new", "--ckpt_path", "last"], r"leave one of them out"),
        *[
            (["--trainer.precision", precision], rf"--trainer\.precision expects .*{precision}")
            for precision in (
                "64-true",
                "64",
                "bf16-true",
                "16-true",
                "transformer-engine",
                "transformer-engine-float16",
            )
        ],
    ],
)
def test_a_sentence_before_the_work(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"(?s){sentence}"):
        fit.main(["--env", "mountaincar", *TINY_FIT, *arguments])
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The result in single precision, with enough steps to learn something."""
    return fit.main(
        ["--env", "mountaincar", *TINY_FIT, "--trainer.max_steps", "200", "--logs", str(tmp_path_factory.mktemp("p"))]
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You passed `Trainer\\(accelerator='cpu', precision='16-mixed'\\)")
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_precisions_agree(precision, whole, tmp_path):
    """On a CPU Lightning takes bfloat16 for half precision, and warns of it."""
    arguments = ["--env", "mountaincar", *TINY_FIT, "--trainer.max_steps", "200", "--logs", str(tmp_path)]
    done = fit.main([*arguments, "--trainer.precision", precision])
    for key in ("val_fvu", "test_fvu"):
        assert done.summary[key] == pytest.approx(whole.summary[key], rel=0.03)
        assert done.summary[key] != whole.summary[key]  # it did compute in another precision


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["parameters", "behavior_rms"])
def test_mixed_precision_with_a_posterior_and_other_losses(loss, tmp_path):
    arguments = ["--env", "mountaincar", *TINY_FIT, "--model.bottleneck", "variational", "--model.loss", loss]
    done = fit.main([*arguments, "--trainer.precision", "bf16-mixed", "--logs", str(tmp_path)])
    assert math.isfinite(done.summary["test_fvu"])


@pytest.mark.slow
def test_validation_every_few_epochs_and_several_checkpoints(tmp_path):
    arguments = ["--trainer.check_val_every_n_epoch", "2", "--trainer.max_steps", "60"]
    arguments += ["--checkpoint.save_top_k", "2", "--checkpoint.filename", "{step}"]
    done = fit.main(["--env", "mountaincar", *TINY_FIT, "--logs", str(tmp_path), *arguments])
    kept = sorted(path.name for path in (done.folder / "checkpoints").iterdir())
    assert len(kept) == 3 and "last.ckpt" in kept
    assert set(kept) - {"last.ckpt"} <= {f"step={step}.ckpt" for step in (20, 40, 60)}
    assert Path(done.summary["checkpoint"]).is_file()


@pytest.mark.parametrize("main, arguments", [(fit.main, TINY_FIT), (collect.main, ["--candidates", "40"])])
def test_logs_that_cannot_be_written(main, arguments, tmp_path, monkeypatch):
    occupied = tmp_path / "occupied"
    occupied.write_text("a file")
    with pytest.raises(UserError, match="cannot be made"):
        main(["--env", "mountaincar", *arguments, "--logs", str(occupied / "logs")])

    def read_only(path, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(os, "mkdir", read_only)
    monkeypatch.setattr(Path, "touch", read_only)
    with pytest.raises(UserError, match=r"cannot be written \(Read-only file system\)"):
        main(["--env", "mountaincar", *arguments, "--logs", str(tmp_path / "logs")])
    assert [path.name for path in tmp_path.iterdir()] == ["occupied"]


@pytest.mark.parametrize("main", [fit.main, collect.main])
def test_a_config_in_another_encoding(main, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes("# Größe\nseed: 1\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"--config expects a YAML file in UTF-8, but .*mine\.yaml.* at byte 4"):
        main(["--env", "mountaincar", "--config", str(path)])
