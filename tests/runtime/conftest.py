"""A pod in miniature: a folder with launch.json, and an executable named vllm that behaves like the engine."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from sizing.serving.launch import launch_document
from tests.support.images import lay_out
from tests.support.plans import serving_plan

ENGINE = """
    import http.server, json, os, signal, sys, time
    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length).decode()
            key = self.headers.get("Authorization") == "Bearer " + os.environ["VLLM_API_KEY"]
            open(os.environ["FAKE_LOG"] + ".requests", "a").write(self.path + " " + body + "\\n")
            code = 401 if self.path.startswith("/v1") and not key else 200
            if self.path == "/v1/completions":
                code = self._first_prompt(code)
            if code is None:
                return  # without an answer: the connection ends
            self.send_response(code)
            self.end_headers()
            if code == 500:
                self.wfile.write(b'{"error": {"message": "EngineCore\\nencountered an issue"}}')
            if self.path == "/metrics":
                self.wfile.write(open(os.environ["FAKE_LOG"] + ".metrics", "rb").read())
        def _first_prompt(self, code):
            kind = os.environ.get("FAKE_PROMPT", "")
            refusal = os.environ["FAKE_LOG"] + ".refusal"
            if os.path.exists(refusal):
                return int(open(refusal).read())
            if kind == "slow" or os.path.exists(os.environ["FAKE_LOG"] + ".frozen"):
                time.sleep(60)
            if kind == "reset" and not os.path.exists(os.environ["FAKE_LOG"] + ".reset"):
                open(os.environ["FAKE_LOG"] + ".reset", "w").close()
                return None
            return int(kind) if kind.isdecimal() else code
        do_GET = do_POST = _answer
        def log_message(self, *args): pass
    def leave(number, frame):
        sys.exit(int(os.environ.get("FAKE_EXIT", "0")))
    signal.signal(signal.SIGTERM, signal.SIG_IGN if os.environ.get("FAKE_DEAF") else leave)
    with open(os.environ["FAKE_LOG"] + ".part", "w") as log:
        json.dump({"argv": sys.argv[1:], "env": dict(os.environ)}, log)
    os.rename(log.name, os.environ["FAKE_LOG"])
    time.sleep(float(os.environ.get("FAKE_START", "0")))
    end = os.environ.get("FAKE_END", "")
    if end:  # by itself, without any request from outside: what `vllm serve` does when its core dies or is refused
        time.sleep(0.2)
        os.kill(os.getpid(), int(end[1:])) if end.startswith("-") else sys.exit(int(end))
    port = int(sys.argv[sys.argv.index("--port") + 1])
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Pod:
    """Environment and folder of one container."""

    def __init__(self, folder):
        self.folder, self.log = folder, folder / "engine.json"
        (folder / "bin").mkdir()
        (folder / "tmp").mkdir()
        vllm = folder / "bin" / "vllm"
        vllm.write_text(f"#!{sys.executable}\n" + textwrap.dedent(ENGINE))
        vllm.chmod(0o755)
        self.shows()
        self.document = launch_document(serving_plan(start_up={"warm_up_s": 5.0}, drain={"pre_stop_s": 0}))
        self.env = {
            "FAKE_LOG": str(self.log),
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
            "PYTHONPATH": str(lay_out("engine", folder / "image")),
            "TMPDIR": str(folder / "tmp"),
            "TONNAGE_BUCKET": "weights",
            "TONNAGE_LAUNCH": str(folder / "launch.json"),
            "TONNAGE_PORT": str(free_port()),
            "VLLM_API_KEY": "a-test-key",
        }
        self.has_vllm(self.document["engine"]["version"])
        self.sets("warm_up", POLL_S=0.05)

    def has_vllm(self, version):
        """Say that this version of vLLM is installed in the image."""
        told = self.folder / "image" / "vllm-0.dist-info"
        told.mkdir(exist_ok=True)
        (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")

    def sets(self, module, **constants):
        """Give a program of this pod other constants, in its own copy of the image: a test need not wait as long."""
        file = self.folder / "image" / "runtime" / f"{module}.py"
        text = file.read_text()
        for name, value in constants.items():
            text, found = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
            assert found == 1, name
        file.write_text(text)

    def command(self, module, *arguments):
        (self.folder / "launch.json").write_text(json.dumps(self.document))
        return [sys.executable, "-m", f"runtime.{module}", *arguments]

    def run(self, module, *arguments):
        return subprocess.run(
            self.command(module, *arguments),
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @contextmanager
    def running(self):
        """Run the launcher; leave with SIGTERM and wait, whatever the test did."""
        launcher = subprocess.Popen(
            self.command("launch"), cwd=self.folder, env=self.env, stderr=subprocess.PIPE, text=True, process_group=0
        )
        try:
            yield launcher
        finally:
            if launcher.poll() is None:
                os.killpg(launcher.pid, signal.SIGKILL)
            launcher.communicate(timeout=10)

    def requests(self):
        file = Path(f"{self.log}.requests")
        return file.read_text().splitlines() if file.exists() else []

    def engine(self):
        return json.loads(self.log.read_text())

    def shows(self, running=3, **marks):
        """Let the engine's figures be these from now on, as its core last reported them."""
        given = {"num_requests_waiting": 2, "generation_tokens_total": 100, "prompt_tokens_total": 900, **marks}
        lines = [f'vllm:num_requests_running{{a="b"}} {running}.0', *(f"vllm:{key} {given[key]}" for key in given)]
        Path(f"{self.log}.metrics").write_text("".join(f"{line}\n" for line in lines))

    def freezes(self):
        """Let no prompt be answered any more; the API server answers everything else."""
        Path(f"{self.log}.frozen").touch()

    def refuses(self, code):
        """Let every prompt be answered by the API server, with this code."""
        Path(f"{self.log}.refusal").write_text(str(code))

    def ages(self, seconds):
        """Let what the last probe saw be that much older."""
        state = json.loads(self.progress().read_text())
        self.progress().write_text(json.dumps({**state, "since": state["since"] - seconds}))

    def progress(self):
        return self.folder / "tmp" / ".tonnage-progress"

    def marker(self):
        return self.folder / "tmp" / ".tonnage-ready"


def wait_for(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"not within {seconds} s")


@pytest.fixture
def pod(tmp_path):
    return Pod(tmp_path)
