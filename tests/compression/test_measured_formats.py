"""What a run says of the formats of its file: which hold the policy that was measured, and which a rounded one."""

import json
from pathlib import Path

import pytest
import torch
from matplotlib.colors import to_rgba

from lightning_pz import compress
from lightning_pz.common.plotting import GRAY
from lightning_pz.compression import figures
from lightning_pz.compression.formats.network_file import FORMATS, read_network
from lightning_pz.compression.measures import outputs
from lightning_pz.jobs import compress as compressing
from tests.compression.conftest import TINY, run


@pytest.mark.parametrize(
    ("method", "measured"),
    [("none", {"float32", "sparse"}), ("prune", {"float32", "sparse"}),
     ("prune+int8", {"float32", "sparse", "int8", "sparse_int8"}), ("int4", {"float32", "sparse", "int4", "sparse_int4"})],
)  # fmt: skip
def test_formats_that_nobody_measured_are_named(method, measured, distilling, capsys, monkeypatch):
    """Those that are not named hold the very policy of the run; those that are named hold a rounded one."""
    drawn, draw = [], figures.bytes_by_format
    monkeypatch.setattr(compressing.figures, "bytes_by_format", lambda *given: drawn.append(draw(*given)) or drawn[0])
    command = distilling(method)
    compress.main([*map(str, command), *TINY])
    said = capsys.readouterr().out
    folder = Path(said.strip().splitlines()[-1])
    summary = json.loads((folder / "summary.json").read_text())
    rounded = summary["formats_rounded_afterwards"]
    levels = [name for name in rounded if not name.startswith("sparse_")]
    assert {*rounded} == FORMATS.keys() - measured and f"{', '.join(levels)}: not measured" in said
    assert "return of the dense policy" in said  # which a wider table would cut
    seen = 3 * torch.randn(200, 3)
    wanted = outputs(read_network(folder / "policy.lpz")[0], seen)
    same = {
        name
        for name in FORMATS
        if torch.equal(outputs(read_network(folder / "formats" / f"{name}.lpz")[0], seen), wanted)
    }
    assert same - {"float32"} == measured - {"float32"}  # which holds the policy before
    assert {path.stem for path in folder.glob("*.onnx")} == {
        "policy",
        *(f"policy_{one}" for one in measured if one[:3] == "int"),
    }
    (axes,) = drawn[0].axes
    bars = zip(axes.get_yticklabels(), axes.patches, strict=True)
    gray = {label.get_text() for label, bar in bars if bar.get_facecolor() == to_rgba(GRAY)}
    assert gray == {figures._FORMATS[name] for name in rounded} and "gray: rounded afterwards" in axes.get_xlabel()


def test_a_finished_run_with_a_rounded_network_is_read(distilling, capsys, monkeypatch):
    """Earlier versions rounded what was only pruned, and did not say so."""
    command = distilling("prune")
    folder, summary = run(capsys, *command)
    del summary["formats_rounded_afterwards"]
    summary |= {"bytes_onnx_int8": 5, "latency_us_onnx_int8": 1.0}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "figures" / "trade_off.png").unlink()
    monkeypatch.setattr(compressing, "distill", lambda *_, **__: pytest.fail("repeated"))
    monkeypatch.setattr(
        compressing, "write_exports", lambda folder, left, *_, **__: {} if left == {"lpz"} else pytest.fail("again")
    )
    again, found = run(capsys, *command)
    assert again == folder and found == summary and (folder / "figures" / "trade_off.png").is_file()
