"""What is known and dated: GPUs, instances, prices, engine rules, calibrated constants, model configurations.

What lives here: JSON files, each with ``source``, ``date`` and ``refresh`` (the command that rewrites it), and the
frozen types that read them. What does not: any decision, and how a model's file is understood (``models``). Zones are
zone ids (``use1-az1``). Sizes are GiB, prices USD, rates as named.
"""

from __future__ import annotations

from sizing.catalogue.catalogue import Catalogue, load_catalogue
from sizing.catalogue.hardware import Gpu, Instance, Region

__all__ = ["Catalogue", "Gpu", "Instance", "Region", "load_catalogue"]
