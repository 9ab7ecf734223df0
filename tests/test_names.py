"""A public name means one thing: it is defined in one module only, and a module's file name stands for one module."""

import ast
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = {"fit", "collect", "evaluate", "finetune", "compress", "report", "export"}
REPEATED = {"main", "run"}
"""Names of entry points: `main` of a command and of the studies, `run` of a study."""
SHARED_FILES = COMMANDS | {"__init__", "__main__", "command", "figures", "loop", "protocol", "settings"}
"""File names that say as much in each package that has one; a command's job has the command's name."""


def modules() -> list[Path]:
    """Return the tracked modules of both packages, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--", "lightning_pz/*.py", "sweeps/*.py"], cwd=ROOT, capture_output=True, text=True
    )
    names = listed.stdout.split() if listed.returncode == 0 else []
    found = [Path(name) for name in names if (ROOT / name).is_file()]
    return found or [
        path.relative_to(ROOT) for part in ("lightning_pz", "sweeps") for path in (ROOT / part).rglob("*.py")
    ]


def defined(module: Path) -> Iterator[str]:
    """Yield the public names of functions, classes and constants at the top of a module."""
    for node in ast.parse((ROOT / module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        else:
            continue
        yield from (name for name in names if not name.startswith("_"))


def repeated(pairs: Iterable[tuple[str, Path]]) -> str:
    """Return a line for each name that more than one file has."""
    places: defaultdict[str, set[str]] = defaultdict(set)
    for name, module in pairs:
        places[name].add(module.as_posix())
    return "\n".join(f"{name}: {', '.join(sorted(found))}" for name, found in sorted(places.items()) if len(found) > 1)


def is_entry(name: str, module: Path) -> bool:
    is_command = module.parent == Path("lightning_pz") and module.stem in COMMANDS
    return name in REPEATED and (module.parts[0] == "sweeps" or is_command)


def test_a_public_name_is_defined_once():
    found = modules()
    assert len(found) > 100
    twice = repeated((name, module) for module in found for name in defined(module) if not is_entry(name, module))
    assert not twice, f"names that several modules define; rename all but one, or make them private:\n{twice}"


def test_a_file_name_stands_for_one_module():
    twice = repeated((module.stem, module) for module in modules() if module.stem not in SHARED_FILES)
    assert not twice, f"file names of several modules; rename all but one, or add the name to SHARED_FILES:\n{twice}"
