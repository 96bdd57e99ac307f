"""The shipped stack files with everything settled that stops an ``up``, as somebody writes them who deploys."""

from __future__ import annotations

from pathlib import Path

from infra.settings.placeholders import ACCOUNTS
from infra.versions import PLACEHOLDER_DIGEST

ACCOUNT = "210987654321"
ADMIN = f"arn:aws:sts::{ACCOUNT}:assumed-role/platform-admin/me"
"""Who calls, as STS says it."""
REACHED_FROM = "198.18.0.0/24"
DIGEST = f"sha256:{'0123456789abcdef' * 4}"


def fill(folder: Path, into: Path) -> None:
    """Write the stack files of ``folder`` to ``into``, text by text, so that comments and order stay."""
    for file in sorted(folder.glob("Pulumi.*.yaml")):
        text = file.read_text(encoding="utf-8").replace(PLACEHOLDER_DIGEST, DIGEST)
        for account in ACCOUNTS:
            text = text.replace(account, ACCOUNT)
        environment = file.name.split(".")[1].removesuffix("-cluster")
        secret = f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:tonnage/{environment}/hub-token"
        serving = f"  tonnage:hubSecretArn: {secret}\n"
        cluster = f"  tonnage:publicAccessCidrs: [{REACHED_FROM}]\n"
        text += cluster if "layer: cluster" in text else serving
        (into / file.name).write_text(text, encoding="utf-8")
