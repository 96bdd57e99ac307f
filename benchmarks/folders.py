"""Where benchmarks read and write, said once."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "benchmarks" / "data"
CATALOGUE = ROOT / "sizing" / "catalogue"
REPORTS = ROOT / "docs" / "reports"
