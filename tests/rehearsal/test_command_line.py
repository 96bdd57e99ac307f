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

from infra.config import settings_from_file
from rehearsal.control_plane.crds import install_crds
from rehearsal.control_plane.objects import ObjectClient
from rehearsal.control_plane.processes import ControlPlane
from rehearsal.environment import Environment
from rehearsal.karpenter.controller import Karpenter
from rehearsal.karpenter.offers import CloudMarket
from rehearsal.process import Supervisor, marked
from rehearsal.providers.aws import AwsStandIn
from rehearsal.providers.base import serve
from rehearsal.providers.kubernetes import KubernetesStandIn
from sizing.catalogue import load_catalogue
from tests.support import language_host
from tests.support.filled import ADMIN, fill

pytestmark = pytest.mark.rehearsal
ROOT = Path(__file__).resolve().parents[2]
READ_BY_THE_CLI = ("Pulumi.yaml", "stacks", "infra", "policies")
OURS = language_host.EXECUTOR


def official(toolbox, name: str) -> Path:
    """Return a script of the official language host."""
    return next(file for file in toolbox.language_host_files if file.name == name)


@pytest.fixture(scope="module")
def live(toolbox):
    """A control plane and the stand-ins: what AWS and EKS are to the command line."""
    with Supervisor() as supervisor, ExitStack() as stack:
        plane = stack.enter_context(ControlPlane(toolbox, supervisor))
        client = ObjectClient(plane.api())
        built_in = client.kinds()
        install_crds(plane.api(), toolbox)
        market = CloudMarket(catalogue=load_catalogue(), region="us-east-1")
        karpenter = stack.enter_context(
            Karpenter(toolbox.karpenter_kwok, plane.kubeconfig, supervisor, plane.api(), market)
        )
        environment = Environment(
            plane=plane,
            client=client,
            karpenter=karpenter,
            built_in=built_in,
        )
        environment.aws = AwsStandIn(created=environment.cloud_created, deleted=environment.cloud_deleted, caller=ADMIN)
        environment.kubernetes = KubernetesStandIn(
            client, unschedulable=karpenter.unschedulable, before_apply=environment.ensure_kind
        )
        stack.callback(environment.kubernetes.stopped.set)
        environment.ports = {
            one.name: stack.enter_context(serve(one)) for one in (environment.aws, environment.kubernetes)
        }
        environment.baseline = environment.everything()
        yield environment, supervisor


class CommandLine:
    """``pulumi`` in a copy of the project, with a home and a state of its own."""

    def __init__(self, folder: Path, toolbox, ports, supervisor) -> None:
        self.toolbox = toolbox
        self.project, self.bin = folder / "project", folder / "bin"
        for name in ("project", "bin", "home", "state", "tmp"):
            (folder / name).mkdir()
        for name in READ_BY_THE_CLI:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, self.project / name)
        fill(ROOT / "stacks", self.project / "stacks")
        (self.project / ".venv").symlink_to(sys.prefix, target_is_directory=True)
        self.executable("pulumi-language-python", f'exec "{sys.executable}" -P "{language_host.__file__}" "$@"\n')
        (self.bin / "pulumi").symlink_to(toolbox.pulumi)
        self.executable("aws", "exit 1\n")  # looked for on the path, called by nobody: the providers are stand-ins
        self.env = {
            **supervisor.environment(),
            "PATH": os.pathsep.join([str(self.bin), str(toolbox.policy_launcher_dir), os.defpath]),
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "of this test only",
            "PULUMI_DEBUG_PROVIDERS": ",".join(f"{name}:{port}" for name, port in sorted(ports.items())),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "TONNAGE_PYTHON": str(self.project / ".venv" / "bin" / "python"),
        }

    def executable(self, name: str, body: str) -> None:
        """Put a script first on the PATH of the engine."""
        (self.bin / name).write_text(f"#!/bin/sh\n{body}")
        (self.bin / name).chmod(0o755)

    def start_programs_with(self, executor: Path) -> None:
        """Take the official script that starts programs, or ours; the official one comes with its policy launcher."""
        self.env["TONNAGE_EXECUTOR"] = str(executor)
        if executor != OURS:
            launcher = official(self.toolbox, "pulumi-analyzer-policy-python")
            self.executable(launcher.name, launcher.read_text())
            del self.env["TONNAGE_PYTHON"]

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
    """The command line in a fresh copy of the project; it leaves no process."""
    environment, supervisor = live
    yield CommandLine(tmp_path, toolbox, environment.ports, supervisor)
    started_here = [one for one in marked(supervisor.run_dir) if str(tmp_path) in one or "language_host" in one]
    assert started_here == []


def errors(told: str) -> list[str]:
    """Return the errors of the summary that ends an update."""
    summary = told.partition("Diagnostics:")[2]
    return [line.strip().removeprefix("error: ") for line in summary.splitlines() if "error: " in line]


@pytest.fixture(params=["ours", "official"])
def executor(request, toolbox):
    """Both scripts that can start a program."""
    return OURS if request.param == "ours" else official(toolbox, "pulumi-language-python-exec")


def test_preview_up_and_destroy_of_both_layers_by_hand(pulumi, live):
    environment, _ = live
    pulumi.start_programs_with(official(pulumi.toolbox, "pulumi-language-python-exec"))
    for stack in ("dev-cluster", "dev"):
        pulumi(f"stack init {stack}")
        preview = pulumi(f"preview --stack {stack} --policy-pack policies")
        up = pulumi(f"up --yes --stack {stack} --policy-pack policies --skip-preview")
        for told in (preview, up):
            assert "tonnage@v0.1.0" in told
            assert errors(told) == []
            assert "Traceback" not in told
        assert re.findall(r"\+ (\d+) to create", preview) == re.findall(r"\+ (\d+) created", up) != []
        again = pulumi(f"preview --stack {stack} --policy-pack policies --expect-no-changes")
        assert re.search(r"Resources:\s+\d+ unchanged", again)
    deployed = {one["metadata"]["name"] for one in environment.client.list("apps/v1", "Deployment")}
    assert "chat" in deployed
    for stack in ("dev", "dev-cluster"):
        pulumi(f"destroy --yes --stack {stack} --skip-preview")
        state = json.loads(pulumi(f"stack export --stack {stack}"))
        assert not state["deployment"].get("resources")
    assert environment.leftovers() == []


def test_a_stack_that_is_not_ready_is_refused_before_anything_is_created(pulumi, live, executor):
    environment, _ = live
    pulumi.start_programs_with(executor)
    for stack, key in (("dev-cluster", "tonnage:publicAccessCidrs"), ("dev", "tonnage:runtime.imageDigest")):
        shutil.copyfile(ROOT / "stacks" / f"Pulumi.{stack}.yaml", pulumi.project / "stacks" / f"Pulumi.{stack}.yaml")
        pulumi(f"stack init {stack}")
        for command in ("preview", "up --yes --skip-preview"):
            told = pulumi(f"{command} --stack {stack}", status=255)
            assert re.match(rf"stack {stack}: \d things stop it before anything is created: {key}: ", errors(told)[0])
            assert "Traceback" not in told
    (pulumi.bin / "aws").unlink()
    fill(ROOT / "stacks", pulumi.project / "stacks")
    assert errors(pulumi("preview --stack dev-cluster", status=255))[0].startswith("PATH: has no command `aws`")
    assert environment.aws.resources == ()


def test_a_caller_without_rights_in_the_cluster_is_refused_before_anything_is_created(pulumi, live):
    environment, _ = live
    environment.aws.caller = "arn:aws:iam::210987654321:user/me"
    try:
        pulumi("stack init dev-cluster")
        told = pulumi("up --yes --stack dev-cluster --skip-preview", status=255)
    finally:
        environment.aws.caller = ADMIN
    assert errors(told)[0].startswith("tonnage:adminRoleArns: arn:aws:iam::210987654321:user/me runs this")
    assert environment.aws.resources == ()


def test_a_protected_cluster_is_destroyed_only_after_its_protection_was_lifted(pulumi, live):
    environment, _ = live
    pulumi("stack init dev-cluster")
    pulumi("config set --stack dev-cluster tonnage:protect true")
    pulumi("up --yes --stack dev-cluster --skip-preview")
    objects, cloud = environment.everything(), sorted(one.name for one in environment.aws.resources)
    refused = pulumi("destroy --yes --stack dev-cluster --skip-preview", status=255)
    assert "protected" in refused
    assert objects <= environment.everything()
    assert sorted(one.name for one in environment.aws.resources) == cloud
    pulumi("config set --stack dev-cluster tonnage:protect false")
    pulumi("up --yes --stack dev-cluster --skip-preview")
    pulumi("destroy --yes --stack dev-cluster --skip-preview")
    assert environment.leftovers() == []


def test_the_serving_stack_before_its_cluster_stack_is_one_clear_line(pulumi, executor):
    pulumi.start_programs_with(executor)
    pulumi("stack init dev")
    told = pulumi("up --yes --stack dev --skip-preview", status=255)
    first, *rest = errors(told)
    assert first == (
        "cluster stack dev-cluster: does not exist; hint: deploy dev-cluster first: pulumi up --stack dev-cluster"
    )
    assert [one for one in rest if "exit status 1" not in one] == []
    assert "Traceback" not in told


def test_a_setting_that_is_refused_is_one_line_too(pulumi, executor):
    pulumi.start_programs_with(executor)
    pulumi("stack init dev-cluster")
    pulumi("config set --stack dev-cluster tonnage:zonez 3")
    told = pulumi("preview --stack dev-cluster", status=255)
    assert (
        errors(told)[0]
        == "stacks/Pulumi.dev-cluster.yaml: tonnage:zonez: unknown key; hint: did you mean tonnage:zones?"
    )
    assert told.count("unknown key") == 2, "once while it runs, once in the summary"
    assert "Traceback" not in told


def test_what_the_command_line_writes_into_a_stack_file_changes_no_setting(pulumi):
    written = pulumi.project / "stacks" / "Pulumi.dev.yaml"
    before = settings_from_file(written)
    pulumi("stack init dev")
    assert "encryptionsalt" in written.read_text()
    assert written.read_text().startswith("# yaml-language-server")
    assert settings_from_file(written) == before


PUBLIC_SERVICE = """
import pulumi
import pulumi_kubernetes as kubernetes

provider = kubernetes.Provider("kubernetes", kubeconfig="{}")
kubernetes.core.v1.Service(
    "open",
    metadata={"name": "open", "namespace": "default"},
    spec={"type": "LoadBalancer", "ports": [{"port": 80}]},
    opts=pulumi.ResourceOptions(provider=provider),
)
"""


def test_the_policy_pack_stops_what_it_does_not_allow(pulumi, executor):
    pulumi.start_programs_with(executor)
    (pulumi.project / "infra" / "__main__.py").write_text(PUBLIC_SERVICE)
    pulumi("stack init dev")
    pulumi("preview --stack dev")
    told = pulumi("preview --stack dev --policy-pack policies", status=255)
    assert "service open is public" in told
    assert "mandatory" in told
