"""Pinned Helm charts and how they are installed, shared by the components that install operators."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from sizing.errors import BadInput

PINNED = re.compile(r"^v?\d+\.\d+\.\d+([-+][0-9A-Za-z.-]+)?$")
"""One semantic version; ranges and tags such as 1.x or latest do not match."""


KEPT = {"helm.sh/resource-policy": "keep"}
"""Annotation with which Helm leaves an object when its release goes (Helm documentation, "Tell Helm Not To Uninstall").

With a definition would go every object of its kind.
"""


@dataclass(frozen=True, kw_only=True)
class CrdChart:
    """The chart that holds the definitions of another chart, at the version that goes with it.

    Helm installs what is in a chart's ``crds`` folder once and never updates it; in a chart of their own they are
    templates. ``values`` must have Helm keep them (``KEPT``).
    """

    name: str
    chart: str
    version: str
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ChartVersion:
    """One chart at one version.

    ``repository`` is the index address of a chart repository, or empty where ``chart`` is an ``oci://`` reference.
    ``crds`` is the chart of its definitions; ``crds_command`` updates them where none can be installed as a release.
    With neither it has none, or has them among its templates, where Helm updates them.
    """

    chart: str
    version: str
    repository: str = ""
    crds: CrdChart | None = None
    crds_command: str = ""

    def __post_init__(self) -> None:
        """Refuse a floating version: it would change what a second deployment installs."""
        for chart in (self, self.crds):
            if chart and not PINNED.match(chart.version):
                problem = f"{chart.version!r} is not one version"
                raise BadInput(f"charts.{chart.chart}.version", problem, way_out="pin it")
        if bool(self.repository) == self.chart.startswith("oci://"):
            raise BadInput(
                f"charts.{self.chart}", "needs either an oci:// reference or a repository", way_out="give exactly one"
            )


@dataclass(frozen=True, kw_only=True)
class Installed:
    """Where a chart goes: release name, namespace, its values, and the seconds that Helm may wait for it."""

    release: str
    namespace: str
    values: Mapping[str, Any]
    timeout_s: int


def installed(
    name: str, chart: ChartVersion, place: Installed, *, parent: pulumi.Resource, after: Sequence[pulumi.Resource]
) -> kubernetes.helm.v3.Release:
    """Register the release of a chart, after that of its definitions where they have a chart of their own.

    A release that fails or is interrupted is taken back (``atomic``): Helm refuses to go on with one that is left
    half-way. docs/how-to/helm.md says what to do where Helm itself was killed.
    """
    options = pulumi.ResourceOptions(parent=parent, depends_on=list(after))
    needed = list(after)
    if chart.crds is not None:
        held = Installed(release=chart.crds.name, namespace=place.namespace, values=chart.crds.values, timeout_s=300)
        needed.append(_release(f"{name}-crds", chart.crds, chart.repository, held, options))
    options = pulumi.ResourceOptions(parent=parent, depends_on=needed)
    return _release(name, chart, chart.repository, place, options, skip_crds=chart.crds is not None)


def _release(
    name: str,
    chart: ChartVersion | CrdChart,
    repository: str,
    place: Installed,
    options: pulumi.ResourceOptions,
    *,
    skip_crds: bool = False,
) -> kubernetes.helm.v3.Release:
    return kubernetes.helm.v3.Release(
        name,
        name=place.release,
        namespace=place.namespace,
        chart=chart.chart,
        version=chart.version,
        repository_opts={"repo": repository} if repository else None,
        values=dict(place.values),
        timeout=place.timeout_s,
        atomic=True,
        cleanup_on_fail=True,
        skip_crds=skip_crds,
        opts=options,
    )
