"""Start vLLM as launch.json says, warm it up, hand signals on, and leave with a code that says why.

Runs as the first process of the container. Every setting is on the engine's command line; its key is taken
from the environment (``VLLM_API_KEY``) by vLLM itself, so that it is in no process list.

==========  ========================================================================================
Exit code   What happened; one line on stderr says the same
==========  ========================================================================================
0           the launcher was asked to leave (SIGTERM, SIGINT) and the engine ended in order
2           launch.json or the environment cannot be used, or the engine refused its command line
70          the engine ended by itself with 0, as ``vllm serve`` does when its core dies
71          the engine answered a prompt of the warm-up with an error
72          the image's vLLM is not the version that the stack was planned for; nothing was started
137         the engine was killed (SIGKILL): often for want of memory
128 + n     the engine was ended by signal n
any other   the engine's own code
==========  ========================================================================================
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib import metadata
from types import FrameType

from . import warm_up
from .document import PORT, BadDocument, Launch, load, progress_file, ready_marker
from .warm_up import WarmUpFailed

BAD_INPUT = 2
"""The document or the environment cannot be used and nothing was started; also the engine's code for its flags."""
ENGINE_ENDED = 70
"""The engine ended by itself and calls it success; to Kubernetes it is none."""
WARM_UP_FAILED = 71
"""The engine listened, but answered a prompt of the warm-up with an error."""
WRONG_VERSION = 72
"""Memory, flags and speed were planned for another release of vLLM than the image has; nothing was started."""
LEAVE_S = 10.0
"""How long an engine that failed its warm-up may take to end; then it is killed, nobody waits for its answers."""
FORWARDED = (signal.SIGTERM, signal.SIGINT)


def _has(args: tuple[str, ...], flag: str) -> bool:
    return any(arg.partition("=")[0] == flag for arg in args)


def _loader_config(launch: Launch) -> str:
    extra = {"concurrency": launch.weights.concurrency, "distributed": launch.weights.distributed}
    return json.dumps(extra, sort_keys=True, separators=(",", ":"))


def command(launch: Launch, bucket: str) -> list[str]:
    """Return vLLM's command line: weights from the model store, the plan's flags, and what the launcher owns."""
    derived = {
        "--served-model-name": launch.name,
        "--load-format": launch.weights.format,
        "--shutdown-timeout": str(launch.shutdown_timeout_s),
    }
    if launch.weights.format.startswith("runai_streamer") and not _has(launch.engine_args, "--load-format"):
        derived["--model-loader-extra-config"] = _loader_config(launch)
    line = ["vllm", "serve", f"s3://{bucket}/{launch.weights.prefix}"]
    line += ["--host", "0.0.0.0", "--port", os.environ.get("TONNAGE_PORT", str(PORT))]  # noqa: S104 - pod address
    for flag, value in derived.items():
        if not _has(launch.engine_args, flag):
            line += [flag, value]
    return [*line, *launch.engine_args]


def environment(launch: Launch, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the engine's environment: the container's, and the reader's tuning unless the container sets it."""
    tuning = {
        "RUNAI_STREAMER_CHUNK_BYTESIZE": str(launch.weights.chunk_bytes),
        "RUNAI_STREAMER_CONCURRENCY": str(launch.weights.concurrency),
        "RUNAI_STREAMER_MEMORY_LIMIT": str(launch.weights.memory_limit_bytes),
    }
    return {**tuning, **inherited}


def _check_environment(environ: Mapping[str, str]) -> str:
    bucket = environ.get("TONNAGE_BUCKET", "")
    if not bucket or "/" in bucket:
        msg = f"TONNAGE_BUCKET: {bucket!r} is not a bucket's name; hint: set it to the model store's bucket"
        raise BadDocument(msg)
    if not environ.get("VLLM_API_KEY"):
        msg = "VLLM_API_KEY: is empty; an engine without a key is not started; hint: reference the engine's Secret"
        raise BadDocument(msg)
    return bucket


class WrongVersion(Exception):
    """The image does not have the release of vLLM that the stack was planned for."""


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: ``0.32.1.dev3+cu129`` is (0, 32, 1)."""
    match = re.match(r"\d+(?:\.\d+){0,2}", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _check_version(planned: str, installed: str) -> None:
    """Refuse another minor version than planned, or an older patch of it: fixes are counted on, changes are not."""
    if _release(installed)[:2] != _release(planned)[:2] or _release(installed) < _release(planned):
        msg = f"vllm: the image has {installed}, the stack was planned for {planned}"
        hint = "build runtime/Dockerfile from that release, or state engine.vllmVersion"
        raise WrongVersion(f"{msg}; hint: {hint}")


def _installed() -> str:
    """Return the version of vLLM in this image; FileNotFoundError when it has none."""
    try:
        return metadata.version("vllm")
    except metadata.PackageNotFoundError:
        raise FileNotFoundError from None


def _forget() -> None:
    """Remove what probes read of an engine that has ended; the folder outlives the container."""
    for file in (ready_marker(), progress_file()):
        file.unlink(missing_ok=True)


def _end(engine: subprocess.Popen[bytes]) -> None:
    engine.terminate()
    try:
        engine.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        engine.kill()


def _verdict(code: int, *, asked: bool, failure: WarmUpFailed | None) -> tuple[int, str]:
    """Return the launcher's exit code and why, from what ``wait`` told of the engine."""
    if failure is not None:
        return WARM_UP_FAILED, f"warm-up: {failure}; hint: the engine's log above says why"
    shown = code if code >= 0 else 128 - code
    if -code == signal.SIGKILL:
        return shown, "engine: killed by SIGKILL; hint: often out of memory, see the pod's last state and its limit"
    if code < 0:
        return shown, f"engine: ended by signal {-code}{', as asked' if asked else ''}"
    if asked:
        return shown, "engine: ended as asked"
    if code == BAD_INPUT:
        return shown, "engine: refused its command line; hint: correct the engine's flags in the stack file"
    hint = "the engine's log above says why"
    return shown or ENGINE_ENDED, f"engine: ended by itself with {code}, nobody asked; hint: {hint}"


def _supervise(line: list[str], env: Mapping[str, str], launch: Launch) -> int:
    """Run the engine until it ends; return the exit code for what happened, after one line that says it."""
    stopping = threading.Event()
    waiting: list[signal.Signals] = []
    failures: list[WarmUpFailed] = []
    engine: subprocess.Popen[bytes] | None = None

    def forward(number: int, _frame: FrameType | None) -> None:
        stopping.set()
        if engine is None:
            waiting.append(signal.Signals(number))
        else:
            engine.send_signal(number)

    for each in FORWARDED:
        signal.signal(each, forward)
    engine = subprocess.Popen(line, env=dict(env))
    for early in waiting:
        engine.send_signal(early)

    def failed(failure: WarmUpFailed) -> None:
        failures.append(failure)
        _end(engine)

    threading.Thread(target=warm_up.run, args=(launch, stopping, failed), daemon=True).start()
    code = engine.wait()
    asked = stopping.is_set()
    stopping.set()
    _forget()
    shown, reason = _verdict(code, asked=asked, failure=failures[0] if failures else None)
    print(f"{reason}; exit code {shown}", file=sys.stderr, flush=True)
    return shown


def main(arguments: list[str] | None = None) -> int:
    """Check everything, then run the engine; 2 for a document or environment of no use, 72 for another vLLM."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        launch = load(given[0] if given else None)
        bucket = _check_environment(os.environ)
        _check_version(launch.vllm_version, _installed())
        _forget()
        return _supervise(command(launch, bucket), environment(launch, os.environ), launch)
    except BadDocument as error:
        print(error, file=sys.stderr)
    except WrongVersion as error:
        print(f"{error}; exit code {WRONG_VERSION}", file=sys.stderr)
        return WRONG_VERSION
    except FileNotFoundError:
        print("vllm: not in the image; hint: build the image from runtime/Dockerfile", file=sys.stderr)
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
