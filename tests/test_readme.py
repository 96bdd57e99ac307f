"""Every command in README is run: ours as written, make targets by their recipe, foreign ones by their arguments."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [line.strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
OURS = [line for line in COMMANDS if line.startswith(".venv/bin/tonnage ") and " rehearse " not in line]
FOREIGN = {"pulumi", "docker"}


def test_readme_holds_only_commands_that_a_test_knows() -> None:
    starts = {shlex.split(line)[0] for line in COMMANDS}
    assert starts == {"make", ".venv/bin/tonnage", *FOREIGN}


@pytest.mark.parametrize("line", [line for line in OURS if "before.json" not in line])
def test_a_command_of_readme_ends_with_zero(line: str) -> None:
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_commands_for_a_pull_request_work_one_after_the_other(tmp_path: Path) -> None:
    script = " && ".join(line for line in OURS if "before.json" in line).replace("before.json", f"{tmp_path}/b.json")
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_a_make_target_of_readme_exists_and_is_explained(line: str) -> None:
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(rf"^{shlex.split(line)[1]} ", helped, re.MULTILINE)


def test_the_stacks_and_folders_named_in_foreign_commands_exist() -> None:
    words = [shlex.split(line) for line in COMMANDS if shlex.split(line)[0] == "pulumi"]
    stacks = [line[line.index("--stack" if "--stack" in line else "init") + 1] for line in words]
    assert [name for name in stacks if not (ROOT / "stacks" / f"Pulumi.{name}.yaml").exists()] == []
    assert (ROOT / "policies" / "PulumiPolicy.yaml").exists()
    dockerfile = (ROOT / "runtime" / "Dockerfile").read_text()
    arguments = re.findall(r"--build-arg ([A-Z_]+)=", README)
    assert [name for name in arguments if f"ARG {name}\n" not in dockerfile] == []
    assert [name for name in re.findall(r"--target (\w+)", README) if f" AS {name}\n" not in dockerfile] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))])
def test_images_are_built_for_the_machines_that_run_them_and_no_command_deletes_a_stack_file(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert [line for line in lines if "docker build " in line and "--platform linux/amd64" not in line] == []
    assert [line for line in lines if "pulumi stack rm" in line and "--preserve-config" not in line] == []


@pytest.mark.rehearsal
@pytest.mark.parametrize("line", [line for line in COMMANDS if " rehearse " in line])
def test_a_rehearsal_of_readme_ends_with_zero(line: str) -> None:
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_linked_page_exists() -> None:
    pages = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert [page for page in pages if not (ROOT / page).exists()] == []
