"""The house: import rules, names, docstrings, the lock file, the generated pages."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cli", "components", "infra", "policies", "rehearsal", "runtime", "sizing")
DESCRIBED = (*PACKAGES, "benchmarks", "tools")
"""Every package in them says what does not live there; of components the layers."""
PLAIN = ("benchmarks", "cli", "components", "infra", "policies", "rehearsal", "runtime", "sizing", "tools")
"""Folders whose docstrings are free of ``INVENTED``; add a folder once it is."""
INVENTED = re.compile(
    r"\b(a wish|crowd(s|ed)?|dear(er|est)|hangs? on|hopeless|lean(er|est)|of equals|sides of a triangle|so many"
    r"|stretch(ed|es)|way of the field)\b"
)
"""Words that a reader of the field had to decode; docs/concepts/glossary.md has the usual ones."""


distributions = functools.cache(importlib.metadata.packages_distributions)


def test_imports_follow_the_table_of_the_architecture() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_drawing_of_the_imports_is_what_the_code_says() -> None:
    done = subprocess.run([sys.executable, "tools/generators/draw_imports.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "run `make docs`"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_package_shadows_the_standard_library_or_another_distribution(package: str) -> None:
    assert package not in sys.stdlib_module_names
    owners = distributions().get(package, [])
    assert set(owners) <= {"tonnage"}


def test_every_package_says_what_does_not_live_there() -> None:
    packages = [path.parent for path in _tracked("*/__init__.py") if path.parts[0] in DESCRIBED]
    described = [path for path in packages if path.parts[0] != "components" or len(path.parts) <= 2]
    texts = {path: " ".join((ROOT / path / "__init__.py").read_text().split()) for path in described}
    assert [str(path) for path, text in texts.items() if not re.search(r"What does not( live here)?: ", text)] == []
    assert all(len(texts[Path(package)]) > 200 for package in PACKAGES)


def test_no_docstring_has_a_word_that_a_reader_must_decode() -> None:
    files = [path for path in _tracked("*.py") if str(path).startswith(tuple(f"{folder}/" for folder in PLAIN))]
    assert len(files) > 150
    found = [(str(path), text) for path in files for _, text, _ in _docstrings(path) if INVENTED.search(text)]
    assert found == []


def test_every_docstring_of_a_constant_or_field_follows_it() -> None:
    files = [path for path in _tracked("*.py") if path.parts[0] in DESCRIBED]
    assert [f"{path}:{line}" for path in files for line, _, follows in _docstrings(path) if not follows] == []


def _tracked(pattern: str) -> list[Path]:
    command = ["git", "ls-files", pattern]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [Path(line) for line in lines if (ROOT / line).exists()]


def _docstrings(path: Path) -> list[tuple[int, str, bool]]:
    """Line and text of each docstring, and whether it is where its owner is: first in a body, or below a name."""
    found = []
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        body = getattr(node, "body", None)
        for before, item in zip([None, *body], body, strict=False) if isinstance(body, list) else ():
            match item:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    below = isinstance(before, ast.Assign | ast.AnnAssign) and before.end_lineno == item.lineno - 1
                    found.append((item.lineno, " ".join(text.split()), before is None or below))
    return found


def test_every_locked_requirement_has_a_hash_and_no_index_is_named() -> None:
    text = (ROOT / "requirements.lock").read_text()
    pinned = re.findall(r"^[a-z0-9][^=\s]*==", text, flags=re.MULTILINE)
    followed = re.findall(r"^[a-z0-9][^=\s]*==[^\n]*\\\n\s+--hash=sha256:", text, flags=re.MULTILINE)
    assert len(pinned) == len(followed) > 50
    assert "://" not in text


def test_no_page_file_or_comment_names_a_path_of_a_home_folder() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    texts = (path for path in tracked if path.endswith((".py", ".md", ".yaml", ".toml", ".json")))
    pattern = re.compile(r"/(root|home/[a-z]+)/")
    assert [path for path in texts if (ROOT / path).exists() and pattern.search((ROOT / path).read_text())] == []
