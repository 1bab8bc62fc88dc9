"""Which of the project's files a stage runs: read from the import statements, without running anything.

`python tests/import_closure.py` writes them into dvc.yaml; a test holds dvc.yaml to them.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gencomp", "stages", "flows")
PACKAGE_FILES = ("config.json", "model.safetensors", "tables.json")
ON_DEMAND = {("gencomp/references.py", "gencomp/registry/release.py")}
"""Imports that happen only when a model is asked for by its registry name, which no DVC stage does."""


def closure(entry: str) -> list[str]:
    """The files that `entry` imports, directly or not, itself included, relative to the root, sorted.

    The `__init__.py` files are left out: they hold only docstrings, as another test asserts.
    """
    found: set[str] = set()
    waiting = [entry]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting.extend(target for target in imports(file) if (file, target) not in ON_DEMAND)
    return sorted(found)


def imports(file: str) -> set[str]:
    """The project's files that one file imports, at module level or inside functions."""
    return {target for name in imported_names(file) if (target := source_of(name))}


def imported_names(file: str) -> Iterator[str]:
    """Dotted names of everything that one file imports, the project's or not."""
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def source_of(name: str) -> str | None:
    """The project's file that a dotted name stands for, if it is a module of ours."""
    path = name.replace(".", "/") + ".py"
    return path if name.split(".")[0] in PACKAGES and (ROOT / path).is_file() else None


def stage_entry(definition: dict[str, object]) -> str:
    """The file of `python -m stages.<name> ...`, the command of a stage of dvc.yaml."""
    command = str(definition["cmd"]).split()
    assert command[:2] == ["python", "-m"], command
    return command[2].replace(".", "/") + ".py"


def is_code(path: object) -> bool:
    return isinstance(path, str) and path.split("/")[0] in PACKAGES and not path.startswith("${")


def write() -> None:
    """Rewrite the code dependencies of every stage of dvc.yaml, leaving the rest as it stands."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    path = ROOT / "dvc.yaml"
    pipeline = yaml.load(path.read_text())
    for stage in pipeline["stages"].values():
        definition = stage.get("do", stage)
        data = [dep for dep in definition.get("deps", []) if not is_code(dep)]
        definition["deps"] = closure(stage_entry(definition)) + extra_files(definition) + data
    with path.open("w") as file:
        yaml.dump(pipeline, file)


def extra_files(definition: dict[str, object]) -> list[str]:
    """What a stage reads beside its modules: the page template of the report, the shipped models that a training may
    start from, and the vectors that they decode."""
    entry = stage_entry(definition)
    templates = (
        str(template.relative_to(ROOT))
        for folder in {Path(module).parent for module in closure(entry) if module.endswith("report.py")}
        for template in (ROOT / folder).glob("*.jinja")
    )
    vectors = ["gencomp/shipped/vectors.json"] if entry == "stages/selftest.py" else []
    shipped = shipped_files() if entry in ("stages/train.py", "stages/selftest.py") else []
    return sorted(templates) + shipped + vectors


def shipped_files() -> list[str]:
    """The packages that come with the project, without their model cards."""
    shipped = (path for name in PACKAGE_FILES for path in (ROOT / "gencomp/shipped").glob(f"*/{name}"))
    return sorted(str(path.relative_to(ROOT)) for path in shipped)


if __name__ == "__main__":
    write()
