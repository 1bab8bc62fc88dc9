"""The lock files have every package that the project requires, in the releases of constraints.txt."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("locks/cuda.txt", "locks/macos.txt")


def pins(name: str) -> dict[str, str]:
    """Release by normalised name, without the local part such as `+cu130`."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    requirements = [Requirement(line) for line in lines if line]
    exact = {r.name: [one.version for one in r.specifier if one.operator == "=="] for r in requirements}
    assert all(len(versions) == 1 for versions in exact.values()), f"{name}: a package without one exact release"
    return {canonicalize_name(package): Version(version).public for package, (version,) in exact.items()}


def required() -> set[str]:
    """Normalised names of what pyproject.toml names, all extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {canonicalize_name(Requirement(line).name) for line in named} - {"gencomp"}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_every_required_package_in_the_release_of_the_constraints(name: str) -> None:
    constraints, lock = pins("constraints.txt"), pins(name)
    assert required() - constraints.keys() == set()
    assert required() - lock.keys() == set(), f"make {name} again by the command in its second line"
    shared = constraints.keys() & lock.keys()
    assert {package: lock[package] for package in shared} == {package: constraints[package] for package in shared}
