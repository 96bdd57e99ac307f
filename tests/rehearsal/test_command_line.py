"""The engine's own command line on the committed project: nothing here goes through ``rehearsal.engine``.

The program runs as a process that a language host starts, as for anybody who types ``pulumi up``. Only what cannot be
had without a cloud is a stand-in: the two providers, attached by the engine's own debugging switch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from rehearsal.control_plane import ControlPlane
from rehearsal.crds import install_crds, validated_kinds
from rehearsal.objects import ObjectClient
from rehearsal.pools import Market
from rehearsal.process import Supervisor, marked
from rehearsal.providers.aws import AwsStandIn
from rehearsal.providers.base import serve
from rehearsal.providers.kubernetes import KubernetesStandIn
from rehearsal.provisioner import Provisioner
from rehearsal.world import World
from sizing.catalogue import load_catalogue
from tests.support import language_host

pytestmark = pytest.mark.rehearsal
ROOT = Path(__file__).resolve().parents[2]
READ_BY_THE_CLI = ("Pulumi.yaml", "stacks", "infra", "policies")


@pytest.fixture(scope="module")
def live(toolbox):
    """A control plane and the stand-ins: what AWS and EKS are to the command line."""
    with Supervisor() as supervisor, ExitStack() as stack:
        plane = stack.enter_context(ControlPlane(toolbox, supervisor))
        client = ObjectClient(plane.api())
        built_in = client.kinds()
        install_crds(plane.api(), toolbox)
        market = Market(catalogue=load_catalogue(), region="us-east-1")
        provisioner = stack.enter_context(Provisioner(plane.api(), market))
        world = World(
            plane=plane,
            client=client,
            provisioner=provisioner,
            validated=validated_kinds(toolbox),
            built_in=built_in,
        )
        world.aws = AwsStandIn(created=world.cloud_created, deleted=world.cloud_deleted)
        world.kubernetes = KubernetesStandIn(
            client, hopeless=provisioner.hopeless, before_apply=world.ensure_kind
        )
        stack.callback(world.kubernetes.stopped.set)
        world.ports = {one.name: stack.enter_context(serve(one)) for one in (world.aws, world.kubernetes)}
        world.baseline = world.everything()
        yield world, supervisor


class CommandLine:
    """``pulumi`` in a copy of the project, with a home and a state of its own."""

    def __init__(self, folder: Path, toolbox, ports, supervisor) -> None:
        self.project = folder / "project"
        self.project.mkdir()
        for name in READ_BY_THE_CLI:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, self.project / name)
        (self.project / ".venv").symlink_to(sys.prefix, target_is_directory=True)
        for name in ("bin", "home", "state", "tmp"):
            (folder / name).mkdir()
        host = folder / "bin" / "pulumi-language-python"
        host.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{language_host.__file__}" "$@"\n')
        host.chmod(0o755)
        (folder / "bin" / "pulumi").symlink_to(toolbox.pulumi)
        path = [str(folder / "bin"), str(toolbox.policy_launcher_dir), os.defpath]
        self.env = {
            **supervisor.environment(),
            "PATH": os.pathsep.join(path),
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "of this test only",
            "PULUMI_DEBUG_PROVIDERS": ",".join(f"{name}:{port}" for name, port in sorted(ports.items())),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "TONNAGE_PYTHON": sys.executable,
        }

    def __call__(self, words: str, *, status: int = 0) -> str:
        """Run ``pulumi WORDS``, demand its exit status, return everything that it printed."""
        command = ["pulumi", *words.split(), "--non-interactive", "--color", "never"]
        done = subprocess.run(
            command, cwd=self.project, env=self.env, capture_output=True, text=True, timeout=300, check=False
        )
        told = done.stdout + done.stderr
        assert done.returncode == status, f"{' '.join(command)}\n{told}"
        return told


@pytest.fixture
def pulumi(tmp_path, toolbox, live):
    """The command line in a fresh copy of the project."""
    world, supervisor = live
    line = CommandLine(tmp_path, toolbox, world.ports, supervisor)
    yield line
    assert all("pulumi" not in one for one in marked(supervisor.run_dir))


def test_preview_up_and_destroy_of_both_layers_by_hand(pulumi, live):
    world, _ = live
    for stack in ("dev-cluster", "dev"):
        pulumi(f"stack init {stack}")
        preview = pulumi(f"preview --stack {stack} --policy-pack policies")
        up = pulumi(f"up --yes --stack {stack} --policy-pack policies --skip-preview")
        for told in (preview, up):
            assert "tonnage@v0.1.0" in told
            assert "Traceback" not in told
        assert re.findall(r"\+ (\d+) to create", preview) == re.findall(r"\+ (\d+) created", up)
        again = pulumi(f"preview --stack {stack} --policy-pack policies --expect-no-changes")
        assert "unchanged" in again
    assert world.aws.resources
    for stack in ("dev", "dev-cluster"):
        pulumi(f"destroy --yes --stack {stack} --skip-preview")
        state = json.loads(pulumi(f"stack export --stack {stack}"))
        assert not state["deployment"].get("resources")
    assert world.leftovers() == []


def test_the_serving_stack_before_its_cluster_stack_is_one_clear_line(pulumi):
    pulumi("stack init dev")
    told = pulumi("up --yes --stack dev --skip-preview", status=255)
    said = [line.strip() for line in told.splitlines() if "dev-cluster" in line]
    assert said == ["deploy"]
    assert "Traceback" not in told
