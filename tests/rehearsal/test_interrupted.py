"""The command itself is interrupted: Ctrl-C at five moments leaves no process and no file; two run side by side."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rehearsal.process import PREFIX, marked

pytestmark = pytest.mark.rehearsal
TONNAGE = str(Path(sys.executable).parent / "tonnage")


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [TONNAGE, "rehearse", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def left_by(pid: int) -> list[str]:
    """Return what a command left: its run folders and the processes marked with them."""
    folders = sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}{pid}-*"))
    return [str(one) for folder in folders for one in (folder, *marked(folder))]


@pytest.mark.parametrize("moment", ["control plane", "up dev-cluster", "up dev", "second up dev", "destroy dev"])
def test_ctrl_c_leaves_no_process_and_no_file(moment: str) -> None:
    command = started("dev")
    for line in command.stderr or ():
        if line.startswith(f"{moment} ..."):
            command.send_signal(signal.SIGINT)
            break
    _, said = command.communicate(timeout=60)
    assert command.returncode == 130
    assert "Traceback" not in said
    assert left_by(command.pid) == []


def test_two_rehearsals_side_by_side_do_not_disturb_each_other() -> None:
    pair = [started("dev", "--format", "json"), started("dev", "--format", "json")]
    answers = [one.communicate(timeout=300) for one in pair]
    assert [one.returncode for one in pair] == [0, 0], [said[-500:] for _, said in answers]
    assert [json.loads(document)["leftovers"] for document, _ in answers] == [[], []]
    assert [left_by(one.pid) for one in pair] == [[], []]
