"""The Kubernetes versions that can be deployed, and what must follow each of them: EKS add-ons and the node image.

The table is ``kubernetes_versions.json``, with its sources and date. A version that is not in it is refused before
anything is created: EKS refuses an add-on of another version only after the control plane has been made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sizing.errors import BadInput

TABLE = Path(__file__).resolve().with_suffix(".json")


@dataclass(frozen=True, kw_only=True)
class KubernetesVersion:
    """One row of the table."""

    version: str
    addons: Mapping[str, str]
    """EKS add-on -> exact version, all of them made for this Kubernetes version."""
    ami_alias: str
    """Release of the node image for Karpenter; it exists for this Kubernetes version."""
    end_of_standard_support: str
    """ISO date. With standard support EKS then upgrades the control plane by itself."""


@lru_cache(maxsize=1)
def table() -> Mapping[str, Any]:
    """Return the whole file: ``versions`` and the windows of the ``charts``, each with its source."""
    document: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return document


def kubernetes_version(version: str, where: str) -> KubernetesVersion:
    """Return the row of a version; BadInput names ``where`` and the versions that can be deployed."""
    rows = table()["versions"]
    if version not in rows:
        raise BadInput(
            where,
            f"{version!r} has no tested add-ons and node image",
            limit=f"one of {', '.join(sorted(rows))}",
            way_out=f"take one of these, or add a row to infra/{TABLE.name} with the command that it names",
        )
    return KubernetesVersion(version=version, **rows[version])


def support_notice(row: KubernetesVersion) -> str | None:
    """Return when EKS will upgrade a cluster of an older version by itself; None for the newest one."""
    if row.version == newest_version():
        return None
    return (
        f"tonnage:kubernetesVersion {row.version}: standard support ends on {row.end_of_standard_support}, EKS then "
        f"upgrades the control plane by itself and the nodes stay behind; hint: {newest_version()} before that day"
    )


def newest_version() -> str:
    """Return the newest version of the table, which new clusters get."""
    return max(table()["versions"], key=_order)


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def outside_window(version: str) -> list[str]:
    """Return a sentence for each chart whose project does not list this version; [] when all do."""
    return [
        f"{name} {row['chart']} is for {row['from']} to {row['to']}"
        for name, row in sorted(table()["charts"].items())
        if not _order(row["from"]) <= _order(version) <= _order(row["to"])
    ]
