"""The ground plan: packages of the core, floors, circles, sizes of folders and files."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("benchmarks", "cli", "components", "infra", "policies", "rehearsal", "runtime", "sizing", "tools")
ENTRIES, FLOORS, FILES, LINES = 18, 8, 20, 420


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def imports_between(rooms: Mapping[str, str]) -> dict[str, set[str]]:
    """Return for each room those that it imports; ``rooms`` maps modules to rooms."""
    found: dict[str, set[str]] = {room: set() for room in rooms.values()}
    for module, room in rooms.items():
        for imported in graph().find_modules_directly_imported_by(module):
            if imported in rooms and rooms[imported] != room:
                found[room].add(rooms[imported])
    return found


def floors_of(imports: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the floor of each room: one above the highest room that it imports."""
    floors: dict[str, int] = {}
    for room in TopologicalSorter(imports).static_order():
        floors[room] = 1 + max((floors[below] for below in imports[room]), default=0)
    return floors


def modules(package: str) -> list[str]:
    return sorted(name for name in graph().modules if name.split(".")[0] == package)


def code_files() -> Iterator[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.py"], cwd=ROOT, capture_output=True,
                            text=True, check=True).stdout.split()  # fmt: skip
    return (Path(name) for name in listed if (ROOT / name).exists() and not name.startswith("tests/"))


def test_the_core_has_few_doors_on_few_floors() -> None:
    entries = [path for path in (ROOT / "sizing").iterdir() if path.name not in {"__pycache__", "py.typed"}]
    assert len(entries) <= ENTRIES
    rooms = {name: name.split(".")[1] for name in modules("sizing") if "." in name}
    assert max(floors_of(imports_between(rooms)).values()) <= FLOORS


def test_no_two_packages_of_the_house_import_each_other() -> None:
    rooms = {name: name.split(".")[0] for package in PACKAGES for name in modules(package)}
    assert floors_of(imports_between(rooms))["sizing"] == 1


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    try:
        floors_of(imports_between({name: name for name in modules(package)}))
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


def test_no_folder_of_code_is_too_long_to_read_but_that_of_the_families() -> None:
    files = Counter(str(path.parent) for path in code_files())
    assert {folder for folder, count in files.items() if count > FILES} == {"sizing/models/families"}


def test_no_file_of_the_core_is_longer_than_a_reader_keeps_in_mind() -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in code_files()}
    assert {path: n for path, n in lengths.items() if path.startswith("sizing/") and n > LINES} == {}


def test_imports_are_absolute_but_in_the_images_that_carry_one_folder() -> None:
    relative = {
        path.parent.as_posix() for path in code_files() for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    }  # fmt: skip
    assert relative == {"runtime/engine", "runtime/tools"}


def test_every_component_checks_its_arguments_where_they_are_made() -> None:
    unchecked = []
    for path in sorted((ROOT / "components").glob("*/*/component.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("Args"):
                methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
                unchecked += [] if "__post_init__" in methods else [f"{path.parent.name}.{node.name}"]
    assert unchecked == []


def test_programs_written_as_text_import_modules_that_exist() -> None:
    """Scripts in strings, which tests and benchmarks start, are seen by no linter; those of an image are left out."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    pattern = re.compile(rf"\bfrom (({'|'.join(PACKAGES)})\.[\w.]+) import ([\w, ]+)")
    missing = []
    for path in (Path(name) for name in listed.split() if (ROOT / name).exists() and "runtime" not in name):
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for module, _, names in pattern.findall(node.value):
                    found = importlib.import_module(module)
                    missing += [
                        f"{path}: {module}.{one}" for one in names.split(", ") if not hasattr(found, one.strip())
                    ]
    assert missing == []
