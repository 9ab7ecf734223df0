"""On what the numbers of a report were measured: fresh episodes or those that chose, test policies or those that chose."""

import itertools
import json

import numpy as np
import pytest
import yaml

from sweeps.dimension.fit_runs import read_fit
from tests.sweeps.dimension.test_report import logs, make_run, report, table_of, write_evaluation  # noqa: F401  a fixture


def test_linear_references_are_of_the_policies_beside_which_they_stand(logs):  # noqa: F811
    folder = report(logs, "dimension")
    assert {row["pca_policies"] for row in table_of(folder, "curves")} == {"val"}
    assert "(val): of the policies that chose" in (folder / "report.md").read_text()
    for path in logs.glob("fit/*/*/summary.json"):
        summary = json.loads(path.read_text())
        on_test = {f"test_{key}": 2 * value for key, value in summary.items() if key.startswith(("pca_", "affine_fvu"))}
        path.write_text(json.dumps(summary | on_test))
    again = report(logs, "dimension")
    rows = table_of(again, "curves")
    assert {row["pca_policies"] for row in rows} == {"test"}
    # Levels of PCA are 1.5 times those of the decoders on the policies that chose, and here twice that.
    assert all(float(row["pca_fvu"]) == pytest.approx(3 * float(row["fvu"]), rel=0.1) for row in rows if row["pca_fvu"])
    assert table_of(again, "dimensions")[0]["affine numbers (FVU)"] == "3 (0.160)"
    assert "(val)" not in (again / "report.md").read_text()


def test_the_task_recovery_dimension_is_of_fresh_episodes_where_all_evaluations_have_them(logs):  # noqa: F811
    for seed in (0, 1):
        for k, fresh in ((1, 0.4), (2, 0.96), (3, 1.1)):
            write_evaluation(logs, f"s-k{k}-seed{seed}", k, seed, best=0.99, fresh=fresh)
    (row,) = table_of(report(logs, "latent_dim"), "recovery")
    assert row["task-recovery dimension [by interval ends]"].startswith("2 ")
    assert (row["recovery there"], row["measured by"]) == ("0.96", "recovery_best_fresh")
    for k, seed in itertools.product((1, 2, 3), (0, 1)):  # of more policies, so that they count, and one is older
        fresh = {} if (k, seed) == (1, 0) else {"fresh": 0.96}
        write_evaluation(logs, f"s-k{k}-seed{seed}", k, seed, best=0.99, policies=2000, **fresh)
    (row,) = table_of(report(logs, "latent_dim"), "recovery")
    assert row["task-recovery dimension [by interval ends]"].startswith("1 ")
    assert (row["recovery there"], row["measured by"]) == ("0.99", "recovery_best")


def test_intervals_are_over_climbs_where_a_fit_names_them(logs):  # noqa: F811
    def width():
        row = next(row for row in table_of(report(logs, "dimension"), "curves") if row["k"] == "1")
        return float(row["fvu_high"]) - float(row["fvu_low"])

    alone = width()
    for path in logs.glob("fit/*/*/policy_errors.npz"):
        with np.load(path) as kept:
            arrays = dict(kept)
        # The policies in the order of their errors over their spread, so that those of a climb are alike.
        order = np.argsort(np.argsort(arrays["error"][0] / arrays["spread"]))
        np.savez(path, **arrays, climbs=order // 75)
    assert width() > 2 * alone


def test_the_prior_is_that_of_the_pool_where_no_probes_tell_it(tmp_path):
    """Settings of both recipes stand in every config.yaml, whichever made the pool."""
    priors = {recipe: {"initializer": "orthogonal", "gain": gain} for recipe, gain in (("random", 1.0), ("grown", 0.5))}
    settings = {recipe: {"prior": prior} for recipe, prior in priors.items()}
    folder = make_run(tmp_path, "mountaincar", "run", seed=0, dims=[2], levels=[0.1], probes=False)

    def prior(data):
        (folder / "config.yaml").write_text(yaml.safe_dump({"data": settings | data}))
        return read_fit(folder, tmp_path).prior

    assert prior({"recipe": "grown"}) == priors["grown"] and prior({"recipe": "random"}) == priors["random"]
    assert prior({"recipe": "random", "pool": "given"}) == {}  # whose, nobody knows
    of_pool = {"initializer": "torch_default", "gain": 2.0}
    (folder / "identity.json").write_text(json.dumps({"pool": {"recipe": {"kind": "grown", "prior": of_pool}}}))
    assert prior({"recipe": "random", "pool": "given"}) == prior({"recipe": "grown"}) == of_pool
