import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from kubernetes.client.exceptions import ApiException

from rehearsal.control_plane import processes as module
from rehearsal.control_plane.api import reason, request
from rehearsal.control_plane.crds import install_crds, install_schemaless
from rehearsal.control_plane.processes import ControlPlane
from rehearsal.errors import RehearsalFailed
from rehearsal.process import Supervisor, marked, sweep
from rehearsal.simulated.nodes import NodeSpec, Taint, make_nodes, remove_nodes, zone_name
from sizing.nodes.labels import GPU_RESOURCE

pytestmark = pytest.mark.rehearsal
PODS = "/api/v1/namespaces/default/pods"
TOLERATION = {"key": GPU_RESOURCE, "operator": "Equal", "value": "true", "effect": "NoSchedule"}


def gpu_node(name: str, zone: str) -> NodeSpec:
    return NodeSpec(
        name=name,
        instance_type="g6.xlarge",
        zone=zone,
        capacity_type="spot",
        cpu=3.92,
        memory_gib=14,
        ephemeral_gib=80,
        gpus=1,
        taints=(Taint(key=GPU_RESOURCE, value="true"),),
    )


def pod(name: str, gpus: int, **spec: object) -> dict[str, object]:
    limits = {GPU_RESOURCE: str(gpus)}
    container = {"name": "engine", "image": "example.org/engine", "resources": {"limits": limits}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], "tolerations": [TOLERATION], **spec},
    }


def eventually(read: Callable[[], object], wanted: object, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while (found := read()) != wanted:
        assert time.monotonic() < deadline, f"wanted {wanted!r}, still {found!r}"
        time.sleep(0.1)


def condition(api, name: str, kind: str) -> str:
    found = request(api, "GET", f"{PODS}/{name}").get("status", {}).get("conditions") or ()
    return next((f"{one['status']}: {one.get('message', '')}" for one in found if one["type"] == kind), "")


@pytest.fixture(scope="module")
def api(control_plane):
    """An admin client of a control plane with two GPU nodes in two zones."""
    client = control_plane.api()
    make_nodes(client, [gpu_node("g6-1", "use1-az1"), gpu_node("g6-2", "use1-az2")])
    return client


def test_a_pod_that_asks_for_a_gpu_runs_on_a_gpu_node(api):
    request(api, "POST", PODS, body=pod("fits", 1))
    eventually(lambda: condition(api, "fits", "Ready"), "True: ")
    assert request(api, "GET", f"{PODS}/fits")["spec"]["nodeName"] in {"g6-1", "g6-2"}


def test_a_pod_that_asks_for_more_than_any_node_has_stays_pending_with_the_reason(api):
    request(api, "POST", PODS, body=pod("too-big", 99))
    eventually(
        lambda: condition(api, "too-big", "PodScheduled").split(". ")[0],
        "False: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu",
    )


def test_a_pod_that_does_not_tolerate_the_taint_stays_pending_with_the_reason(api):
    request(api, "POST", PODS, body=pod("intruder", 0, tolerations=[]))
    eventually(lambda: "untolerated taint" in condition(api, "intruder", "PodScheduled"), True)


def test_an_instance_taken_away_takes_its_pods_along(api):
    make_nodes(api, [gpu_node("g6-3", "use1-az4")])
    request(api, "POST", PODS, body=pod("victim", 1, nodeSelector={"kubernetes.io/hostname": "g6-3"}))
    eventually(lambda: condition(api, "victim", "Ready"), "True: ")
    remove_nodes(api, ["g6-3"])
    eventually(lambda: [one for one in request(api, "GET", PODS)["items"] if one["metadata"]["name"] == "victim"], [])
    with pytest.raises(ApiException) as caught:
        request(api, "GET", "/api/v1/nodes/g6-3")
    assert reason(caught.value) == 'nodes "g6-3" not found'


def test_a_volume_comes_in_the_zone_of_its_pod_and_goes_with_its_claim(api):
    claims, volumes = "/api/v1/namespaces/default/persistentvolumeclaims", "/api/v1/persistentvolumes"
    storage = {
        "metadata": {"name": "gp3"},
        "provisioner": "ebs.csi.aws.com",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    request(api, "POST", "/apis/storage.k8s.io/v1/storageclasses", body=storage)
    wanted = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "8Gi"}},
        "storageClassName": "gp3",
    }
    request(api, "POST", claims, body={"metadata": {"name": "data"}, "spec": wanted})
    mounted = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    request(api, "POST", PODS, body=pod("keeper", 0, volumes=mounted, nodeSelector={"kubernetes.io/hostname": "g6-2"}))
    eventually(lambda: condition(api, "keeper", "Ready"), "True: ")
    (volume,) = request(api, "GET", volumes)["items"]
    terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert terms[0]["matchExpressions"][0]["values"] == [zone_name("use1-az2")]
    request(api, "DELETE", f"{PODS}/keeper", query={"gracePeriodSeconds": "0"})
    request(api, "DELETE", f"{claims}/data")
    eventually(lambda: request(api, "GET", volumes)["items"], [])


def test_objects_of_pinned_definitions_are_validated(api, toolbox):
    names = install_crds(api, toolbox)
    assert len(set(names)) == len(names) >= 18
    assert "nodepools.karpenter.sh" in names
    pool = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "p"}, "spec": {"weight": 500}}
    with pytest.raises(ApiException) as caught:
        request(api, "POST", "/apis/karpenter.sh/v1/nodepools", body=pool)
    assert "spec.template: Required value" in reason(caught.value)
    assert "spec.weight" in reason(caught.value)


def test_a_kind_without_a_pinned_definition_takes_anything(api):
    assert install_schemaless(api, "example.org", "v1", "Thing") == "things.example.org"
    thing = {"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"any": 1}}
    path = "/apis/example.org/v1/namespaces/default/things"
    assert request(api, "POST", path, body=thing)["spec"] == {"any": 1}


def test_nobody_without_the_token_is_let_in_and_no_secret_is_readable_by_others(control_plane):
    context = ssl.create_default_context(cafile=control_plane.kubeconfig.parent / "ca.crt")
    for path in ("/api", "/readyz"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(control_plane.server + path, context=context)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in control_plane.kubeconfig.parent.iterdir() if path.is_file()}
    assert modes == {0o600}


def test_two_control_planes_side_by_side_do_not_meet_and_stop_quickly(toolbox, api):
    with Supervisor() as supervisor:
        with ControlPlane(toolbox, supervisor) as second:
            assert request(second.api(), "GET", "/api/v1/nodes")["items"] == []
            started = time.monotonic()
        assert time.monotonic() - started < 5
        assert marked(supervisor.run_dir) == []
        run_dir = supervisor.run_dir
    assert not run_dir.exists()
    assert len(request(api, "GET", "/api/v1/nodes")["items"]) == 2


def test_a_port_taken_in_the_meantime_is_replaced_by_another(toolbox, monkeypatch):
    with socket.socket() as taken, Supervisor() as supervisor:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [taken.getsockname()[1]]
        real = module.free_port
        monkeypatch.setattr(module, "free_port", lambda: ports.pop() if ports else real())
        lines: list[str] = []
        with ControlPlane(toolbox, supervisor, lines.append) as running:
            assert request(running.api(), "GET", "/version")["minor"] == "36"
        assert "a port was taken in the meantime, trying others" in lines


@pytest.mark.parametrize("name", ["etcd", "kube_apiserver", "kube_controller_manager"])
def test_a_part_that_crashes_at_the_start_is_named_in_one_line(toolbox, tmp_path, name):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'Error: no space left on device' >&2\nexit 1\n")
    broken.chmod(0o755)
    with Supervisor(temp_root=tmp_path) as supervisor:
        with (
            pytest.raises(
                RehearsalFailed, match=f"^{name.replace('_', '-')}: stopped .*no space left on device"
            ) as caught,
            ControlPlane(replace(toolbox, **{name: Path(broken)}), supervisor),
        ):
            pass
        assert "\n" not in str(caught.value)
        assert marked(supervisor.run_dir) == []


RUN = """
import sys, time
from pathlib import Path
from rehearsal.control_plane.processes import ControlPlane
from rehearsal.process import Supervisor
from rehearsal.tools import ensure_tools
toolbox = ensure_tools(lambda _: None)
with Supervisor(temp_root=Path(sys.argv[1])) as supervisor:
    print(supervisor.run_dir, flush=True)
    with ControlPlane(toolbox, supervisor):
        time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("after_s", [0.05, 0.6, 2, 5])
def test_a_command_ended_at_any_moment_leaves_no_process_and_no_file(toolbox, tmp_path, number, after_s):
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as owner:
        run_dir = Path(owner.stdout.readline().strip())
        assert run_dir.is_absolute(), "the command did not start"
        time.sleep(after_s)
        owner.send_signal(number)
    eventually(lambda: marked(run_dir), [], timeout_s=5)
    if number == signal.SIGKILL:
        assert len(sweep(tmp_path)) == 1
    assert list(tmp_path.iterdir()) == []
