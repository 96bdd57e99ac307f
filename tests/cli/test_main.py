"""Exit codes and the one line on standard error, whatever goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from cli import app
from sizing.errors import OverBudget
from tests.cli.conftest import Tonnage
from tests.support.seeds import reseeded

SIZE = ("size", "meta-llama/Llama-3.1-8B-Instruct", "--gpu", "L4")


def test_without_a_verb_the_help_is_shown(tonnage: Tonnage) -> None:
    called = tonnage()
    assert called.code == 0
    assert "rehearse" in called.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sise",), "No such command 'sise'"),
        (("size",), "Missing argument 'MODEL'"),
        (("size", "x"), "Missing option '--gpu'"),
        ((*SIZE, "--bogus"), "No such option"),
        ((*SIZE, "--tensor-parallel", "two"), "--tensor-parallel"),
        ((*SIZE, "--format", "xml"), "--format"),
        ((*SIZE, "--tensor-parallel", "-1"), "--tensor-parallel: -1"),
        ((*SIZE, "--tensor-parallel", "3"), "3"),
        ((*SIZE, "--max-model-len", "99999999999"), "--max-model-len: 99999999999"),
        ((*SIZE, "--gpu-memory-utilization", "nan"), "--gpu-memory-utilization: nan"),
        ((*SIZE, "--gpu-memory-utilization", "1.5"), "--gpu-memory-utilization: 1.5"),
        ((*SIZE, "--gpu-total-gib", "-4"), "--gpu-total-gib: -4.0 is not a positive number"),
        ((*SIZE, "--weights-gib", "inf"), "--weights-gib: inf is not a positive number"),
        ((*SIZE, "--vllm-version", "newest"), "'newest' is not a version"),
        ((*SIZE[:3], "L44"), "nearest known: L4, L40S"),
        (("preview", "no-such-stack"), "no-such-stack"),
        (("preview", "../../etc/passwd"), "does not exist"),
        (("rehearse", "no-such-stack"), "no-such-stack"),
    ],
)
def test_bad_input_is_one_line_that_names_it_and_exit_2(
    tonnage: Tonnage, arguments: tuple[str, ...], words: str
) -> None:
    called = tonnage(*arguments)
    assert words in called.line
    assert called.code == 2


def _raising(error: BaseException) -> object:
    def verb(**_: object) -> None:
        raise error

    return lambda: lambda **_: verb()


def test_a_clear_no_is_one_line_and_exit_3(tonnage: Tonnage, monkeypatch: pytest.MonkeyPatch) -> None:
    error = OverBudget("tonnage:budget", "too small", limit="$5", way_out="$9 works")
    monkeypatch.setattr(app, "command", _raising(error))
    called = tonnage()
    assert called.line == "tonnage:budget: too small; limit: $5; hint: $9 works"
    assert called.code == 3


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyError("x\ny"), 1, "internal error: KeyError: 'x\\ny' (run with TONNAGE_TRACEBACK=1)"),
        (ValueError("\x1b[31mred"), 1, "internal error: ValueError:  [31mred (run with TONNAGE_TRACEBACK=1)"),
        (OSError(28, "No space left on device", "state.json"), 2, "state.json: No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_any_other_failure_is_one_line_too(
    tonnage: Tonnage, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    monkeypatch.setattr(app, "command", _raising(error))
    called = tonnage()
    assert (called.line, called.code) == (line, code)


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m cli catalogue show --format json | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "{0\n"
    assert done.stderr == ""


def test_json_is_the_same_whatever_the_hash_seed(tonnage: Tonnage) -> None:
    arguments = (*SIZE, "--max-model-len", "8192", "--format", "json")
    called = [sys.executable, "-m", "cli", *arguments]
    elsewhere = subprocess.run(called, capture_output=True, text=True, check=True, env=reseeded()).stdout
    assert elsewhere == tonnage(*arguments).out


def test_a_terminal_that_cannot_show_blocks_gets_question_marks_and_no_error() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    called = [sys.executable, "-m", "cli", *SIZE, "--max-model-len", "8192"]
    done = subprocess.run(called, capture_output=True, text=True, check=True, env=environment)
    assert "????" in done.stdout


def test_help_and_sizing_import_neither_an_sdk_nor_a_cloud_client() -> None:
    for arguments in (["--help"], [*SIZE, "--max-model-len", "8192"]):
        program = (
            "import sys\nfrom cli.__main__ import run\n"
            f"assert run({arguments!r}) == 0\n"
            "print([m for m in ('pulumi', 'boto3', 'kubernetes', 'grpc', 'yaml') if m in sys.modules], file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stderr == "[]\n"


def test_help_costs_little_more_than_importing_its_parser() -> None:
    def fastest(*arguments: str) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
            times.append(time.perf_counter() - start)
        return min(times)

    assert fastest("-m", "cli", "--help") < 2.5 * fastest("-c", "import typer")
