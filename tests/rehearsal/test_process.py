import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from rehearsal.errors import RehearsalFailed
from rehearsal.process import Supervisor, free_port, marked, sweep

ABANDONED = """
import subprocess, sys, time
from pathlib import Path
from rehearsal.process import Supervisor
supervisor = Supervisor(temp_root=Path(sys.argv[1])).__enter__()
child = supervisor.start("watched", ["sleep", "600"])
detached = subprocess.Popen(["sleep", "601"], env={"PATH": "/usr/bin:/bin", **supervisor.environment()},
                            start_new_session=True)
print(child.process.pid, detached.pid, supervisor.run_dir, flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def until(condition, timeout_s: float = 10) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_leaving_ends_children_their_children_and_the_run_folder(tmp_path):
    with Supervisor(temp_root=tmp_path) as supervisor:
        script = "setsid sleep 600 & sleep 600"
        child = supervisor.start("tree", ["sh", "-c", script])
        assert until(lambda: len(marked(supervisor.run_dir)) == 3)
        run_dir = supervisor.run_dir
    assert not alive(child.process.pid)
    assert marked(run_dir) == []
    assert list(tmp_path.iterdir()) == []


def test_a_dead_process_is_named_with_its_telling_log_line(tmp_path):
    with Supervisor(temp_root=tmp_path) as supervisor:
        script = "echo starting; echo 'Error: address already in use' >&2; echo usage: x; exit 7"
        supervisor.start("kube-apiserver", ["sh", "-c", script])
        with pytest.raises(RehearsalFailed, match=r"^kube-apiserver: stopped \(exit code 7\): Error: address already"):
            supervisor.wait_for("kube-apiserver", lambda: False, timeout_s=10)


def test_a_program_that_does_not_exist_is_one_line(tmp_path):
    with Supervisor(temp_root=tmp_path) as supervisor:
        supervisor.start("etcd", ["/nowhere/etcd"])
        with pytest.raises(RehearsalFailed, match=r"^etcd: stopped \(exit code 1\): .*No such file or directory"):
            supervisor.wait_for("etcd", lambda: False, timeout_s=10)


def test_a_process_that_never_gets_ready_is_told_with_the_limit(tmp_path):
    with Supervisor(temp_root=tmp_path) as supervisor:
        supervisor.start("kwok", ["sleep", "600"])
        with pytest.raises(RehearsalFailed, match=r"^kwok: not ready; last log line: no output; limit: 0 s$"):
            supervisor.wait_for("kwok", lambda: False, timeout_s=0.1)


def test_a_full_disk_is_one_line_with_a_way_out(tmp_path, monkeypatch):
    def full(**_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(RehearsalFailed, match="run folder: No space left on device; hint: free some disk space"):
        Supervisor(temp_root=tmp_path).__enter__()


def test_what_a_killed_command_left_is_swept_and_only_that(tmp_path):
    command = [sys.executable, "-c", ABANDONED, str(tmp_path)]
    with Supervisor(temp_root=tmp_path) as other:
        bystander = other.start("other", ["sleep", "600"])
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
            child, detached, run_dir = owner.stdout.readline().split()
            assert sweep(tmp_path) == []
            assert alive(int(detached))
            owner.send_signal(signal.SIGKILL)
        assert until(lambda: not alive(int(child))), "the parent-death signal ends what was started"
        # the kernel shows the environment of a process only once its exec has ended, which a busy machine delays
        assert until(lambda: any(line.startswith(f"{detached} ") for line in marked(Path(run_dir))))
        assert alive(int(detached)), "a process that escaped waits for the sweep"
        assert sweep(tmp_path) == [f"removed what an earlier rehearsal left: {Path(run_dir).name}, 1 process(es)"]
        assert until(lambda: not alive(int(detached)))
        assert not Path(run_dir).exists()
        assert alive(bystander.process.pid)
        assert other.run_dir.is_dir()


def test_a_folder_that_was_not_signed_yet_is_removed_only_when_its_process_is_gone(tmp_path):
    mine, gone = tmp_path / f"tonnage-rehearsal-{os.getpid()}-a", tmp_path / "tonnage-rehearsal-4194305-b"
    foreign = tmp_path / "tonnage-rehearsal-notes"
    for folder in (mine, gone, foreign):
        folder.mkdir()
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine, foreign])


def test_sigterm_unwinds_and_leaves_nothing(tmp_path):
    script = ABANDONED.replace("supervisor = Supervisor(temp_root=Path(sys.argv[1])).__enter__()", "").strip()
    body = "\n    ".join(script.splitlines()[3:])
    program = "\n".join(
        [*script.splitlines()[:3], "with Supervisor(temp_root=Path(sys.argv[1])) as supervisor:", f"    {body}"]
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        child, detached, _ = owner.stdout.readline().split()
        owner.terminate()
        assert owner.wait(timeout=10) == 128 + signal.SIGTERM
    assert not alive(int(child))
    assert not alive(int(detached))
    assert list(tmp_path.iterdir()) == []


def test_a_shim_runs_the_program_and_dies_with_whoever_started_it(tmp_path):
    with Supervisor(temp_root=tmp_path) as supervisor:
        shim = supervisor.shim("engine", Path("/bin/sleep"))
        starter = subprocess.Popen([sys.executable, "-c", f"import subprocess; subprocess.run(['{shim}', '602'])"])
        assert until(lambda: running("/bin/sleep\x00602"))
        starter.kill()
        starter.wait()
        assert until(lambda: not running("/bin/sleep\x00602"))


def running(command: str) -> bool:
    lines = []
    for entry in Path("/proc").iterdir():
        try:
            lines.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return any(line.startswith(command) for line in lines)


def test_a_free_port_can_be_bound():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))
