"""The house: import rules, names, the lock file, the generated pages."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cli", "components", "infra", "policies", "rehearsal", "runtime", "sizing")


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


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_lives_there_and_what_does_not(package: str) -> None:
    text = " ".join((ROOT / package / "__init__.py").read_text().split())
    assert len(text) > 200
    assert re.search(r"does not( live here)?:|does not belong", text)


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
