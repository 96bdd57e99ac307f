"""Each image carries its own programs only, and every command that a pod runs is one of them."""

import json
import re
import subprocess
import sys

import pytest

from tests.support.golden import GOLDEN
from tests.support.images import copied_files, lay_out

PROGRAMS = {"engine": ("drain", "launch", "ready"), "tools": ("ingest", "restore", "snapshot")}


@pytest.mark.parametrize("target", sorted(PROGRAMS))
def test_an_image_holds_its_programs_and_none_of_the_other(target: str) -> None:
    held = {path.removeprefix("runtime/").removesuffix(".py") for path in copied_files(target)}
    others = {name for image, names in PROGRAMS.items() if image != target for name in names}
    assert set(PROGRAMS[target]) <= held
    assert not held & others


@pytest.mark.parametrize(("target", "program"), [(image, one) for image in PROGRAMS for one in PROGRAMS[image]])
def test_every_program_starts_from_the_files_of_its_image_alone(target: str, program: str, tmp_path) -> None:
    code = f"import runtime.{program} as program, sys; sys.exit(not callable(program.main))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(lay_out(target, tmp_path))}, check=False
    )
    assert done.returncode == 0


def test_every_command_of_a_rendered_pod_is_a_program_of_an_image() -> None:
    text = "".join(json.dumps(json.loads(path.read_text())) for path in sorted(GOLDEN.glob("*.json")))
    called = set(re.findall(r'"-m", "runtime\.(\w+)"', text))
    assert {"ready", "ingest"} <= called <= {name for names in PROGRAMS.values() for name in names}
