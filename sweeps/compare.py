"""Which search solves a task in the fewest environment steps: every algorithm on every task, and the report.

Fits and evaluates one autoencoder per environment, or one for each seed of the search, runs each algorithm from it, and
leaves the report of those very runs in `logs/sweeps/<study>`, of a part of the grid or another `--grid` file in a folder of
its own beside it. The grids are `conf/sweep/compare.yaml` and `conf/sweep/grown.yaml`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_pz.common.checks import LARGEST_SEED, one_of, plain_name
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone
from lightning_pz.common.identity import digest
from lightning_pz.envs.presets import merge, resolve_env
from lightning_pz.finetune import parse
from lightning_pz.jobs.finetune_settings import check_task
from lightning_pz.search.settings import ALGORITHMS, check_algorithm_package
from sweeps.crew import Crew, open_crew
from sweeps.fits import Fit, check_all, check_evaluate, evaluate_fits, run_fits, seeded_fits
from sweeps.folders import changed_grid, grid_path, tables_folder
from sweeps.options import CompareOptions
from sweeps.optuna_study.reading import check_filled, check_known, errors_from, from_plain, read_yaml, whole_numbers

if TYPE_CHECKING:
    from lightning_pz.jobs.report import Report


@dataclass(frozen=True)
class ComparedEnv:
    """One environment of the comparison."""

    run: str  # name of the fit's run folder; with `fit_seeds`, of all of them without the seed at the end
    # Fits, each with a seed of its own (and whatever else in `fit` is `{seed}`, such as the seed of its pool), from which
    # the searches of that very seed are made; one fit for all seeds if 0.
    fit_seeds: int = 0
    policy: str = "medium"  # preset of the policies' size
    tasks: list[str] = field(default_factory=list)  # all if empty
    fit: dict[str, Any] = field(default_factory=dict)  # settings of `fit`, in its dotted keys
    evaluate: dict[str, Any] = field(default_factory=dict)  # settings of `evaluate`
    # Settings of `finetune` by algorithm, over those for all environments; `seeds: 0` leaves one out.
    algorithms: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain_name("run", self.run)
        whole_numbers({"fit_seeds": self.fit_seeds})

    def make_fits(self, env: str, logs: str) -> list[Fit]:
        """Return the fits of this environment."""
        if not self.fit_seeds:
            return [Fit(self.run, env, resolve_env(env)["env"]["name"], self.policy, self.fit, logs)]
        return seeded_fits(self.run, env, self.policy, self.fit, logs, range(self.fit_seeds))


@dataclass(frozen=True)
class Comparison:
    """What is compared."""

    environments: dict[str, ComparedEnv]  # by preset or Gymnasium id
    # Settings of `finetune` of each algorithm, in the order in which they are run; the user names the variants of an
    # algorithm that is listed several times, and each variant has the key `algorithm`.
    algorithms: dict[str, dict[str, Any]]
    finetune: dict[str, Any] = field(default_factory=dict)  # settings for all
    at: list[int] = field(default_factory=list)  # steps at which the report shows returns, beside those at the end

    def __post_init__(self) -> None:
        check_filled({"environments": self.environments, "algorithms": self.algorithms})
        whole_numbers({"at": self.at}, 1)
        for name, settings in self.algorithms.items():
            one_of("algorithms", settings.get("algorithm", name), ALGORITHMS)
        for env, compared in self.environments.items():
            for name in compared.algorithms:
                one_of("algorithms", name, tuple(self.algorithms))
            for name in self.algorithms:
                seeds = self.settings(name, env).get("seeds", 1)
                if not isinstance(seeds, int) or isinstance(seeds, bool) or not 0 <= seeds <= LARGEST_SEED:
                    raise UserError(
                        f"seeds of {name} on {env} expects how many, a whole number of at least 0, but got {seeds!r}"
                    )

    def cells(self) -> list[tuple[str, str]]:
        """Return algorithm and environment of all commands, in the order in which they are run."""
        both = [(algorithm, env) for algorithm in self.algorithms for env in self.environments]
        return [cell for cell in both if self.settings(*cell).get("seeds") != 0]

    def settings(self, name: str, env: str) -> dict[str, Any]:
        """Return the settings of `finetune` of one algorithm on one environment."""
        over = self.environments[env].algorithms.get(name, {})
        return {"algorithm": name} | merge(merge(self.finetune, self.algorithms[name]), over)

    def commands(self, name: str, env: str, logs: str) -> list[list[str]]:
        """Return the command lines of one algorithm on one environment, one for each of its fits."""
        compared, settings = self.environments[env], self.settings(name, env)
        common = {"task": ",".join(compared.tasks) or "all", "logs": logs}
        # Seeds beyond the fits have none to begin from.
        seeds = range(min(compared.fit_seeds, int(settings.get("seeds", compared.fit_seeds))))
        each = [{"seed": seed, "seeds": 1} for seed in seeds] if compared.fit_seeds else [{}]
        return [[f"--{key}={value}" for key, value in (common | settings | own).items()] for own in each]


def load_comparison(path: Path, environments: Sequence[str] = (), algorithms: Sequence[str] = ()) -> Comparison:
    """Read what is compared, all of it or the named part; a `UserError` names the file and the key of a mistake."""
    whole = from_plain(Comparison, read_yaml(path), f"{path}: a comparison")
    check_known(str(path), {"env": (environments, whole.environments), "algorithm": (algorithms, whole.algorithms)})

    def chosen(settings: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        return {name: one for name, one in settings.items() if not names or name in names}

    part: dict[str, ComparedEnv] = chosen(whole.environments, environments)
    part = {env: dataclasses.replace(one, algorithms=chosen(one.algorithms, algorithms)) for env, one in part.items()}
    return dataclasses.replace(whole, environments=part, algorithms=chosen(whole.algorithms, algorithms))


def run(study: str, options: CompareOptions) -> None:
    """Fit, evaluate, search and report; the study is named as its grid in `conf/sweep/`."""
    logs, path = options.logs, grid_path(study, options.grid)
    grid = load_comparison(path, options.env, options.algorithm)
    _check(grid, logs, str(path))
    searched = {env for _, env in grid.cells()}  # other environments need no fit
    fits = {env: one.make_fits(env, logs) for env, one in grid.environments.items() if env in searched}
    check_all([fit for own in fits.values() for fit in own], str(path))
    for env in dict.fromkeys(options.env):
        if env not in searched:
            print(f"no search on {env}: {path} has `seeds: 0` there", flush=True)
    parts = [resolve_env(env)["env"]["name"] for env in dict.fromkeys(options.env)]
    parts += list(dict.fromkeys(options.algorithm))
    out = tables_folder(logs, study, parts, changed_grid(study, path))
    evaluations: dict[str, dict[Path, str]] = {env: {} for env in fits}
    places = {fit.folder: env for env, own in fits.items() for fit in own}
    with open_crew(options, logs) as crew:
        wanted = [(fit, grid.environments[env].evaluate) for env, own in fits.items() for fit in own]
        for fit in run_fits(crew, wanted, lambda fit: print(f"fit and evaluate: {fit.folder}", flush=True)):
            env = places[fit.folder]
            (done,) = evaluate_fits([fit], grid.environments[env].evaluate)
            evaluations[env][fit.folder] = str(done.folder / "summary.json")
        pools = {env: [evaluations[env][fit.folder] for fit in own] for env, own in fits.items()}
        made = _search(grid, fits, pools, crew, logs, str(out))

    from lightning_pz.jobs.report import print_report

    print_report(made)


def _search(
    grid: Comparison, fits: dict[str, list[Fit]], pools: dict[str, list[str]], crew: Crew, logs: str, out: str
) -> Report:
    """Do every search, and report on those that are whole whenever another one is."""
    from lightning_pz.comparison.labels import search_label
    from lightning_pz.comparison.settings import ReportSettings
    from lightning_pz.jobs.report import report

    cells = grid.cells()
    labels = [search_label(parse(grid.commands(algorithm, env, logs)[0])[1]) for algorithm, env in cells]
    parts: list[tuple[int, list[str]]] = []
    for number, (algorithm, env) in enumerate(cells):
        for command, fit in zip(grid.commands(algorithm, env, logs), fits[env], strict=False):
            own = [*command, f"--checkpoint={fit.checkpoint}"]
            parts += [(number, one) for one in ([own] if crew.is_here else _single_runs(own, env))]
    left, told = Counter(number for number, _ in parts), set[int]()

    def tell(place: int) -> None:
        number, (algorithm, env) = parts[place][0], cells[parts[place][0]]
        if number not in told:
            told.add(number)
            name = f"search {number + 1} of {len(cells)}: {labels[number]} ({algorithm}) on {env}"
            print(f"\n{name}", flush=True)

    folders: dict[int, list[Path]] = {}
    for place, found in crew.run(_finetune, [command for _, command in parts], tell):
        folders[place] = found
        left[parts[place][0]] -= 1
        if left[parts[place][0]]:
            continue
        whole = [number for number in range(len(cells)) if not left[number]]
        runs = [path for place in sorted(folders) if parts[place][0] in whole for path in folders[place]]
        seen = [path for env in sorted({cells[number][1] for number in whole}) for path in pools[env]]
        made = report(runs, ReportSettings(out=out, evaluation=seen, at=grid.at))
    return made


def _single_runs(command: Sequence[str], env: str) -> list[list[str]]:
    """Return a command for each task and seed of a command."""
    from lightning_pz.envs.tasks import task_names

    jobs, search = parse(list(command))
    tasks = task_names(resolve_env(env)["env"]["id"]) if search.task == "all" else search.task.split(",")
    seeds = range(search.seed, search.seed + jobs.seeds)
    return [
        [*command, f"--task={task}", f"--seed={seed}", "--seeds=1", "--workers=1"]
        for task in dict.fromkeys(tasks)
        for seed in seeds
    ]


def _finetune(command: Sequence[str]) -> list[Path]:
    """Do the searches of a command, and return their run folders."""
    from lightning_pz.jobs.finetune import finetune

    jobs, search = parse(list(command))
    # The same searches may be under way in a worker that an earlier command has left.
    with alone(Path(jobs.logs) / "sweeps" / "locks" / f"searches-{digest(list(command))[:16]}"):
        return [result.folder for result in finetune(jobs, search)]


def _check(grid: Comparison, logs: str, path: str) -> None:
    """Refuse a mistake in the last cell, and a part without any, before the first hour is spent."""
    if not (cells := grid.cells()):
        raise UserError(
            f"{path}: expected a search to do, but `seeds: 0` leaves out {', '.join(grid.algorithms)} on "
            f"{', '.join(grid.environments)}: name other algorithms or environments"
        )
    for algorithm, env in cells:
        with errors_from(f"{path}: {algorithm} on {env}"):
            _, search = parse(grid.commands(algorithm, env, logs)[0])
            check_algorithm_package(search.algorithm)
            check_task(resolve_env(env)["env"]["id"], search.task)
    for env, compared in grid.environments.items():
        check_evaluate(compared.evaluate, f"{path}: environments.{env}")
