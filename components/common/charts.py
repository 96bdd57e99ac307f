"""The reference of one pinned Helm chart, shared by the components that install operators."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sizing.errors import BadInput

PINNED = re.compile(r"^v?\d+\.\d+\.\d+([-+][0-9A-Za-z.-]+)?$")
"""One semantic version; ranges and tags such as 1.x or latest do not match."""


@dataclass(frozen=True, kw_only=True)
class ChartVersion:
    """One chart at one version.

    ``repository`` is the index address of a chart repository, or empty where ``chart`` is an ``oci://`` reference.
    """

    chart: str
    version: str
    repository: str = ""

    def __post_init__(self) -> None:
        """Refuse a floating version: it would change what a second deployment installs."""
        if not PINNED.match(self.version):
            raise BadInput(f"charts.{self.chart}.version", f"{self.version!r} is not one version", way_out="pin it")
        if bool(self.repository) == self.chart.startswith("oci://"):
            raise BadInput(
                f"charts.{self.chart}", "needs either an oci:// reference or a repository", way_out="give exactly one"
            )
