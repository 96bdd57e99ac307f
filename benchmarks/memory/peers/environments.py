"""Environments of the packaged peers: made once at pinned versions, then used offline; one process for all rows.

They live under ``~/.cache/tonnage/peers`` (``TONNAGE_PEERS`` names another folder), one per peer and version.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from benchmarks.folders import ROOT
from benchmarks.memory.peers.answer import answer
from benchmarks.memory.peers.case import Case, Prediction

INSTALL_S, RUN_S = 900, 600


class NotRun(Exception):
    """The peer cannot run here; the text is the reason that the page prints."""


def folder() -> Path:
    """Return where the environments live."""
    stated = os.environ.get("TONNAGE_PEERS")
    return Path(stated) if stated else Path.home() / ".cache" / "tonnage" / "peers"


def ask(name: str, module: ModuleType, cases: Sequence[Case], *, offline: bool) -> list[Prediction]:
    """Return the peer's predictions in the order of the cases; NotRun with the reason where it cannot run."""
    if not module.PACKAGES:
        return [answer(module, case) for case in cases]
    lines = "".join(json.dumps(asdict(case)) + "\n" for case in cases)
    said = talk(("benchmarks.memory.peers", name), module, lines, offline=offline)
    answers = [Prediction(**json.loads(line)) for line in said]
    if len(answers) != len(cases):
        raise NotRun(f"answered {len(answers)} of {len(cases)} rows")
    return answers


def talk(program: Sequence[str], module: ModuleType, lines: str, *, offline: bool, limit_s: int = RUN_S) -> list[str]:
    """Return the lines that ``python -m program`` answers in a peer's environment; NotRun if it fails."""
    python = _environment(module, offline=offline)
    command = [str(python), "-m", *program]
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", ""), "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command,
            input=lines,
            capture_output=True,
            text=True,
            timeout=limit_s,
            env=environment,
            cwd=ROOT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotRun(f"no answer within {limit_s} s") from None
    answers = done.stdout.splitlines()
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NotRun(f"ended with {done.returncode} after {len(answers)} rows: {last}")
    return answers


def _environment(module: ModuleType, *, offline: bool) -> Path:
    home = folder() / f"{module.__name__.rsplit('.', 1)[-1]}-{module.VERSION}"
    python = home / "bin" / "python"
    if (home / "installed").exists():
        return python
    if offline:
        raise NotRun("its environment is not made, and installing is off (--offline)")
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    for command in _recipe(home, module.PACKAGES):
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise NotRun(f"cannot be installed: {last}")
    (home / "installed").write_text("\n".join(module.PACKAGES) + "\n", encoding="utf-8")
    return python


def _recipe(home: Path, packages: Sequence[str]) -> list[list[str]]:
    if uv := shutil.which("uv"):
        make = [uv, "venv", "-q", "--python", sys.executable, str(home)]
        return [make, [uv, "pip", "install", "-q", "--python", str(home / "bin" / "python"), *packages]]
    make = [sys.executable, "-m", "venv", str(home)]
    return [make, [str(home / "bin" / "python"), "-m", "pip", "install", "-q", *packages]]
