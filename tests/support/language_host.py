"""A language host for the engine's command line, where the official ``pulumi-language-python`` cannot be had.

The engine starts it with ``-root=FOLDER -virtualenv=FOLDER ENGINE_ADDRESS`` and reads the port from its first line.
Each ``Run`` is a fresh process of the virtual environment's own interpreter in the project's folder, so the program
shares nothing with the host, with a test or with the rehearsal. ``TONNAGE_EXECUTOR`` names the script that starts the
program, ``program_start.py`` when unset.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

EXECUTOR = Path(__file__).with_name("program_start.py")
MESSAGE_LIMIT_BYTES = 400 * 1024 * 1024
CRASHED = 32
"""Exit status of an executor that has told the engine what went wrong."""


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Answers what a preview, an update and a destroy ask. Method names are the protocol's."""

    def __init__(self, engine: str) -> None:
        """``engine``: the address that programs send their messages to."""
        self.engine = engine
        self.program: subprocess.Popen[bytes] | None = None

    def Handshake(self, request, context):  # noqa: N802
        """Greet the engine."""
        self.engine = request.engine_address or self.engine
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request, context):  # noqa: N802
        """Return the version of this host."""
        return plugin_pb2.PluginInfo(version="0.0.1")

    def About(self, request, context):  # noqa: N802
        """Return the interpreter of the virtual environment."""
        python = interpreter(request.info)
        told = subprocess.run([python, "-V"], capture_output=True, text=True, check=True)
        return language_pb2.AboutResponse(executable=str(python), version=told.stdout.split()[-1])

    def RuntimeOptionsPrompts(self, request, context):  # noqa: N802
        """Ask nothing: the project file has every option."""
        return language_pb2.RuntimeOptionsResponse()

    def GetRequiredPackages(self, request, context):  # noqa: N802
        """Name no plugin: the providers are attached."""
        return language_pb2.GetRequiredPackagesResponse()

    def GetRequiredPlugins(self, request, context):  # noqa: N802
        """Name no plugin: the providers are attached."""
        return language_pb2.GetRequiredPluginsResponse()

    def GetProgramDependencies(self, request, context):  # noqa: N802
        """Name no dependency; only ``pulumi about`` asks."""
        return language_pb2.GetProgramDependenciesResponse()

    def InstallDependencies(self, request, context):  # noqa: N802
        """Install nothing: the virtual environment is made by the Makefile."""
        return iter(())

    def Run(self, request, context):  # noqa: N802
        """Run the program once; what it printed went through, what it logged went to the engine."""
        environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        self.program = subprocess.Popen(self.command(request), cwd=request.pwd, env=environment)
        status = self.program.wait()
        if status == CRASHED:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"the program ended with exit status {status}" if status else "")

    def Cancel(self, request, context):  # noqa: N802
        """Interrupt the program."""
        if self.program is not None:
            self.program.terminate()
        return empty_pb2.Empty()

    def command(self, request) -> list[str]:
        """Return the command that starts the program of a request."""
        named = {
            "project": request.project,
            "stack": request.stack,
            "organization": request.organization,
            "root_directory": request.info.root_directory,
            "pwd": request.pwd,
            "monitor": request.monitor_address,
            "engine": self.engine,
            "dry_run": str(request.dryRun).lower(),
            "parallel": str(request.parallel),
        }
        flags = [word for name, value in named.items() for word in (f"--{name}", value)]
        executor = os.environ.get("TONNAGE_EXECUTOR", str(EXECUTOR))
        program = request.program or request.info.entry_point
        return [str(interpreter(request.info)), "-u", executor, *flags, program, *request.args]


def interpreter(info: language_pb2.ProgramInfo) -> Path:
    """Return the interpreter that ``runtime.options.virtualenv`` of the project file names."""
    options = dict(info.options)
    return Path(info.root_directory, options["virtualenv"], "bin", "python")


def main() -> None:
    """Serve until the engine ends this process, which it does with an interrupt."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    limits = [(f"grpc.max_{way}_message_length", MESSAGE_LIMIT_BYTES) for way in ("receive", "send")]
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=limits)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(LanguageHost(sys.argv[-1]), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    ended.wait()
    server.stop(0).wait()


if __name__ == "__main__":
    main()
