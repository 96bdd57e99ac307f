"""GPUs, EC2 instance types and regions as the snapshot knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from sizing.catalogue.files import serving_facts
from sizing.errors import BadInput
from sizing.plan import InstanceOffer


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU type. ``total_gib`` is what CUDA reports, not the advertised size."""

    name: str
    aliases: tuple[str, ...]
    model: str
    architecture: str
    compute_capability: float
    total_gib: float
    bandwidth_gb_s: float
    dense_tflops: Mapping[str, float]
    """Dense (not sparse) TFLOPS by type: bf16, fp16, fp8, fp4; a missing key means no native support."""
    link: str
    """How GPUs of one machine are joined: nvlink, pcie, fabric or network."""
    link_gb_s: float
    """GB/s per GPU over that link, both directions together."""
    karpenter_name: str
    """Value of the node label karpenter.k8s.aws/instance-gpu-name; empty where AWS rents none."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One EC2 instance type; prices and zones by region."""

    instance_type: str
    gpu: str
    gpus: int
    vcpu: int
    memory_gib: float
    nvme_gb: int
    network_gbps: float
    efa_interfaces: int
    ebs_baseline_mbps: float
    allocatable_cpu: float
    allocatable_memory_gib: float
    allocatable_pods: int
    on_demand_usd_per_hour: Mapping[str, float]
    spot_usd_per_hour: Mapping[str, Mapping[str, float]]
    zone_ids: Mapping[str, tuple[str, ...]]
    regions: tuple[str, ...]
    quota_on_demand: str
    quota_spot: str

    def spot_price(self, region: str) -> float | None:
        """Return the median spot price that was seen over the zones of ``region`` in USD per hour; None if never seen.

        What a plan pays is ``offer(region).spot_usd_per_hour``.
        """
        prices = sorted(p for p in self.spot_usd_per_hour.get(region, {}).values() if p is not None)
        if not prices:
            return None
        middle = len(prices) // 2
        return prices[middle] if len(prices) % 2 else (prices[middle - 1] + prices[middle]) / 2

    def offer(self, region: str) -> InstanceOffer:
        """Return what a pool may buy in ``region``; BadInput when it has no on-demand price there.

        Its prices are the only ones that plan, bill, policy and rehearsal read.
        """
        if region not in self._offers:
            raise BadInput("instance", f"{self.instance_type} has no on-demand price in {region}")
        return self._offers[region]

    @cached_property
    def _offers(self) -> Mapping[str, InstanceOffer]:
        return {
            region: InstanceOffer(
                instance_type=self.instance_type,
                gpus=self.gpus,
                vcpu=self.vcpu,
                memory_gib=self.memory_gib,
                on_demand_usd_per_hour=on_demand,
                spot_usd_per_hour=self._planned_spot_price(region, on_demand),
                zone_ids=self.zone_ids.get(region, ()),
            )
            for region, on_demand in self.on_demand_usd_per_hour.items()
        }

    def _planned_spot_price(self, region: str, on_demand: float) -> float:
        """USD per hour to plan with on spot: median of the zones plus the volatility margin, at most on demand.

        Where the snapshot has no price, the smallest discount seen in the family; where it has no family either, the
        on-demand price.
        """
        facts, seen = serving_facts("spot"), self.spot_price(region)
        if seen is None:
            seen = on_demand * (1 - facts["family_discount"].get(self.instance_type.split(".")[0], 0.0))
        return float(min(seen * (1 + facts["volatility_margin"]), on_demand))


@dataclass(frozen=True, kw_only=True)
class Region:
    """A region that the snapshot has prices for."""

    name: str
    zone_ids: tuple[str, ...]
