"""Starts a Pulumi program as the official executor does: one script in a process of its own, with arguments.

``python program_start.py --monitor ... --engine ... infra/__main__.py``. Configuration comes in ``PULUMI_CONFIG`` and
``PULUMI_CONFIG_SECRET_KEYS``. Exit 0: ran; 1: the program ended with ``RunError``; 32: it crashed and was told.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import runpy
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

import pulumi
from pulumi import runtime

CRASHED = 32


def arguments() -> argparse.Namespace:
    """Return what the host passes; the names are those of the official executor."""
    parser = argparse.ArgumentParser()
    for name in ("project", "stack", "organization", "root_directory", "pwd", "monitor", "engine", "dry_run"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("program")
    parser.add_argument("rest", nargs="*")
    return parser.parse_args()


def configure(given: argparse.Namespace) -> None:
    """Connect the SDK of this process to the engine."""
    runtime.set_all_config(runtime.get_config_env(), runtime.get_config_secret_keys_env())
    runtime.configure(
        runtime.Settings(
            monitor=given.monitor,
            engine=given.engine,
            project=given.project,
            stack=given.stack,
            parallel=given.parallel,
            dry_run=given.dry_run == "true",
            organization=given.organization,
            root_directory=given.root_directory,
        )
    )


def play(given: argparse.Namespace, loop: asyncio.AbstractEventLoop) -> int:
    """Run the program inside a stack resource and return the exit status."""

    def program() -> None:
        runpy.run_path(given.program, run_name="__main__")

    try:
        loop.run_until_complete(runtime.run_in_stack(program))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return 1
    except Exception:
        pulumi.log.error(f"the program crashed:\n{traceback.format_exc()}")
        return CRASHED
    return 0


def main() -> int:
    """Start the program."""
    given = arguments()
    configure(given)
    sys.argv = [given.program, *given.rest]
    os.chdir(given.pwd)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with ThreadPoolExecutor(max_workers=max(given.parallel, 1) * 4) as pool:
        loop.set_default_executor(pool)
        status = play(given, loop)
    loop.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
