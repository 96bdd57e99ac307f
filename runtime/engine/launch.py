"""Start vLLM as launch.json says, warm it up, hand signals on, and leave with its exit code.

Runs as the first process of the container. Every setting is on the engine's command line; its key is taken
from the environment (``VLLM_API_KEY``) by vLLM itself, so that it is in no process list.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import FrameType

from . import warm_up
from .document import PORT, BadDocument, Launch, load, ready_marker
from .warm_up import WarmUpFailed

BAD_INPUT = 2
"""The document or the environment cannot be used; nothing was started."""
WARM_UP_FAILED = 71
"""The engine listened, but answered a prompt of the warm-up with an error."""
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


def _end(engine: subprocess.Popen[bytes]) -> None:
    engine.terminate()
    try:
        engine.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        engine.kill()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _supervise(line: list[str], env: Mapping[str, str], launch: Launch) -> int:
    """Run the engine until it ends; return its exit code (128 + signal when a signal ended it)."""
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
    stopping.set()
    ready_marker().unlink(missing_ok=True)
    if failures:
        _say(f"warm-up: {failures[0]}; exit code {WARM_UP_FAILED}; hint: the engine's log above says why")
        return WARM_UP_FAILED
    return code if code >= 0 else 128 - code


def main(arguments: list[str] | None = None) -> int:
    """Check everything, then run the engine; 2 for a document or environment that cannot be used."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        launch = load(given[0] if given else None)
        bucket = _check_environment(os.environ)
        ready_marker().unlink(missing_ok=True)
        return _supervise(command(launch, bucket), environment(launch, os.environ), launch)
    except BadDocument as error:
        print(error, file=sys.stderr)
    except FileNotFoundError:
        print("vllm: not on PATH; hint: build the image from runtime/Dockerfile", file=sys.stderr)
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
