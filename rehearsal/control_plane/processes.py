"""A real Kubernetes control plane on loopback: etcd, API server, scheduler, controller manager, kwok.

Every listener is TLS on 127.0.0.1 and asks for a client certificate or a token made for this run; RBAC is on;
anonymous requests are refused. Nothing is kept: leaving the context kills the processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from ssl import SSLContext, create_default_context

from kubernetes.client import ApiClient, Configuration

from rehearsal.control_plane.certificates import write_certificates, write_private
from rehearsal.errors import RehearsalFailed
from rehearsal.process import Child, Supervisor, disk_errors, free_port
from rehearsal.simulated.volumes import VolumeProvisioner
from rehearsal.tools import Toolbox
from rehearsal.toolset import Progress

READY_TIMEOUT_S = 90
"""Two seconds on an idle machine; the rest is for a loaded one."""
_ATTEMPTS = 4
_USERS = {  # user name (RBAC bootstrap roles are bound to these) -> groups
    "tonnage-admin": "system:masters",
    "system:kube-scheduler": "",
    "system:kube-controller-manager": "system:masters",  # one identity for all controllers: starts 4 s sooner
}


class ControlPlane:
    """Context manager; ready when the API server answers and the default service account exists.

    ``kubeconfig``: path of an admin kubeconfig (0600, below the run folder); ``server``: https address. The
    processes belong to ``supervisor``, which must be entered before and left after.
    """

    kubeconfig: Path
    server: str

    def __init__(self, toolbox: Toolbox, supervisor: Supervisor, progress: Progress = lambda _: None) -> None:
        """Remember the parts; nothing is started before ``__enter__``."""
        self._tools = toolbox
        self._supervisor = supervisor
        self._progress = progress
        self._tokens = {user: secrets.token_urlsafe(32) for user in _USERS}
        self._children: list[Child] = []
        self._volumes: VolumeProvisioner | None = None

    def __enter__(self) -> ControlPlane:
        """Start everything; raise ``RehearsalFailed`` naming the process and its last log line."""
        started = time.monotonic()
        self._progress("starting the control plane")
        try:
            with disk_errors("control plane"):
                self._write_secrets()
                self._start_api_server()
                self._start_controllers()
            self._supervisor.wait_for("kube-controller-manager", self._has_default_account, READY_TIMEOUT_S)
            self._volumes = VolumeProvisioner(self.api())
            self._volumes.start()
        except BaseException:
            self._stop()
            raise
        self._progress(f"control plane ready after {time.monotonic() - started:.1f} s")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything, in under five seconds."""
        self._stop()

    def api(self) -> ApiClient:
        """Return a new admin client of the API server; it may be shared by threads."""
        configuration = Configuration()
        configuration.host = self.server
        configuration.ssl_ca_cert = str(self._folder / "ca.crt")
        configuration.api_key = {"authorization": f"Bearer {self._tokens['tonnage-admin']}"}
        configuration.connection_pool_maxsize = 16
        configuration.no_proxy = "127.0.0.1"
        configuration.proxy = None
        return ApiClient(configuration)

    @property
    def _folder(self) -> Path:
        return self._supervisor.run_dir / "control-plane"

    def _write_secrets(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        write_certificates(self._folder)
        rows = [
            f"{self._tokens[user]},{user},{user}{f',{groups}' if groups else ''}" for user, groups in _USERS.items()
        ]
        write_private(self._folder / "tokens.csv", "\n".join(rows).encode() + b"\n")

    def _start_api_server(self) -> None:
        """Start etcd and the API server; again with other ports when one got taken between."""
        for attempt in range(_ATTEMPTS):
            client, peer, secure = free_port(), free_port(), free_port()
            self.server = f"https://127.0.0.1:{secure}"
            self._start("etcd", _etcd_command(self._tools.etcd, self._folder, client, peer))
            command = _api_server_command(self._tools.kube_apiserver, self._folder, client, secure)
            self._start("kube-apiserver", command)
            try:
                self._supervisor.wait_for("kube-apiserver", self._answers("/readyz"), READY_TIMEOUT_S)
            except RehearsalFailed as error:
                if "address already in use" not in str(error) or attempt == _ATTEMPTS - 1:
                    raise
                self._progress("a port was taken in the meantime, trying others")
                self._stop()
            else:
                return

    def _start_controllers(self) -> None:
        self.kubeconfig = self._write_kubeconfig("admin", "tonnage-admin")
        scheduler = self._write_kubeconfig("scheduler", "system:kube-scheduler")
        manager = self._write_kubeconfig("controller-manager", "system:kube-controller-manager")
        quiet = ["--leader-elect=false", "--secure-port=0", "--profiling=false"]
        self._start("kube-scheduler", [self._tools.kube_scheduler, f"--kubeconfig={scheduler}", *quiet])
        self._start(
            "kube-controller-manager",
            [
                self._tools.kube_controller_manager,
                f"--kubeconfig={manager}",
                f"--service-account-private-key-file={self._folder / 'sa.key'}",
                f"--root-ca-file={self._folder / 'ca.crt'}",
                "--concurrent-deployment-syncs=10",
                *quiet,
            ],
        )
        stages = [f"--config={stage}" for stage in self._tools.stage_files]
        nodes = ["--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"]
        self._start("kwok", [self._tools.kwok, f"--kubeconfig={self.kubeconfig}", *nodes, *stages])

    def _start(self, name: str, command: list[str | Path]) -> None:
        env = {**os.environ, "HOME": str(self._folder)}  # nobody's settings but ours (kwok reads ~/.kwok)
        self._children.append(self._supervisor.start(name, command, env=env))

    def _stop(self) -> None:
        if self._volumes:
            self._volumes.stop()
            self._volumes = None
        while self._children:
            self._supervisor.forget(self._children.pop())

    def _write_kubeconfig(self, name: str, user: str) -> Path:
        cluster = {"server": self.server, "certificate-authority": str(self._folder / "ca.crt")}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "rehearsal", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": self._tokens[user]}}],
            "contexts": [{"name": "rehearsal", "context": {"cluster": "rehearsal", "user": user}}],
            "current-context": "rehearsal",
        }
        return write_private(self._folder / f"{name}.kubeconfig", json.dumps(content, indent=1).encode())

    def _answers(self, path: str) -> Callable[[], bool]:
        """Return a test whether the API server answers ``path`` with 200."""
        context: SSLContext = create_default_context(cafile=str(self._folder / "ca.crt"))
        headers = {"Authorization": f"Bearer {self._tokens['tonnage-admin']}"}
        request = urllib.request.Request(self.server + path, headers=headers)  # noqa: S310 - https, loopback
        direct = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

        def answers() -> bool:
            with contextlib.suppress(OSError, urllib.error.URLError), direct.open(request, timeout=5) as response:
                return bool(response.status == 200)
            return False

        return answers

    def _has_default_account(self) -> bool:
        return self._answers("/api/v1/namespaces/default/serviceaccounts/default")()


def _etcd_command(binary: Path, folder: Path, client_port: int, peer_port: int) -> list[str | Path]:
    client, peer = f"https://127.0.0.1:{client_port}", f"https://127.0.0.1:{peer_port}"
    pair = {"cert-file": folder / "tls.crt", "key-file": folder / "tls.key", "trusted-ca-file": folder / "ca.crt"}
    return [
        binary,
        "--name=rehearsal",
        f"--data-dir={folder / f'etcd-{client_port}'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=rehearsal={peer}",
        "--client-cert-auth=true",
        "--peer-client-cert-auth=true",
        *[f"--{prefix}{key}={path}" for prefix in ("", "peer-") for key, path in pair.items()],
        "--unsafe-no-fsync=true",  # the data is thrown away
        "--log-level=warn",
    ]


def _api_server_command(binary: Path, folder: Path, etcd_port: int, secure_port: int) -> list[str | Path]:
    return [
        binary,
        f"--etcd-servers=https://127.0.0.1:{etcd_port}",
        f"--etcd-cafile={folder / 'ca.crt'}",
        f"--etcd-certfile={folder / 'tls.crt'}",
        f"--etcd-keyfile={folder / 'tls.key'}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={secure_port}",
        f"--tls-cert-file={folder / 'tls.crt'}",
        f"--tls-private-key-file={folder / 'tls.key'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        f"--client-ca-file={folder / 'ca.crt'}",
        "--anonymous-auth=false",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'sa.key'}",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--endpoint-reconciler-type=none",  # loopback cannot be an endpoint
        "--profiling=false",
    ]
