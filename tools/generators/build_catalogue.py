"""Write sizing/catalogue/gpus.json and instances.json from the recorded facts in benchmarks/data.

Left out on purpose: g7 (its RTX PRO 4500 needs a driver that the stock EKS image lacks), the fractional
g6f/gr6f sizes (the device plugin sees no whole GPU) and bare metal. Cards that AWS does not rent become
GPUs without instances. Run: ``python -m tools.generators.build_catalogue``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from benchmarks.folders import CATALOGUE, DATA
from sizing.catalogue.refresh import dump

REFRESH = "python -m tools.generators.build_catalogue"
NAMES = {"RTXPRO6000": "RTX-PRO-6000"}
LEFT_OUT_FAMILIES = ("g7", "g6f", "gr6f")
# Label value of karpenter.k8s.aws/instance-gpu-name (Karpenter provider AWS v1.14, concepts/scheduling).
KARPENTER_NAMES = {
    "T4": "t4", "A10G": "a10g", "L4": "l4", "L40S": "l40s", "RTX-PRO-6000": "rtx-pro-server-6000", "A100-40GB": "a100",
    "A100-80GB": "a100", "H100": "h100", "H200": "h200", "B200": "b200", "B300": "b300",
}  # fmt: skip
ALIASES = {
    "A100-40GB": ["A100-40", "A100-SXM4-40GB", "A100-PCIE-40GB"],
    "A100-80GB": ["A100-80", "A100", "A100-SXM4-80GB"],
    "H100": ["H100-80GB", "H100-SXM", "H100-SXM5-80GB"],
    "H200": ["H200-141GB", "H200-SXM"],
    "B200": ["B200-180GB"],
    "B300": ["B300-288GB"],
    "RTX-PRO-6000": ["RTXPRO6000", "RTX-PRO-6000-SERVER", "RTX-PRO-6000-BLACKWELL", "RTX-6000-PRO"],
    "RTX-3090": ["3090", "RTX3090"],
    "RTX-4090": ["4090", "RTX4090"],
    "RTX-5090": ["5090", "RTX5090"],
    "GB10": ["DGX-SPARK"],
    "MI300X": ["MI-300X"],
    "T4": ["TESLA-T4"],
    "A800-80GB": ["A800", "A800-SXM4-80GB"],
    "H20": ["H20-96GB"],
    "H800": ["H800-80GB", "H800-SXM"],
    "A100-PCIE": ["A100-PCIE-80GB"],
    "H100-NVL": ["H100-NVL-94GB"],
    "GH200": ["GH200-96GB"],
    "L20": ["L20-48GB"],
    "RTX-A5000": ["A5000"],
    "RTX-A6000": ["A6000"],
    "RTX-3070": ["3070", "RTX3070"],
    "RTX-4080": ["4080", "RTX4080"],
    "RTX-5080": ["5080", "RTX5080"],
    "V100-32GB": ["V100-SXM2-32GB"],
}
# Usable bandwidth between two GPUs in GB/s, both directions: NVLink per GPU, else PCIe x16 by generation.
PCIE_GB_S = {"gen3": 32, "gen4": 64, "gen5": 128}


def _link(interconnect: str) -> tuple[str, float]:
    """Return the kind of the link and its GB/s per GPU (both directions) from the description."""
    for kind in ("NVLink 5", "NVLink 4", "NVLink 3", "NVLink 2", "Infinity Fabric"):
        if kind in interconnect:
            figure = interconnect.split(" GB/s", maxsplit=1)[0].rsplit(maxsplit=1)[-1]
            return ("nvlink" if kind.startswith("NVLink") else "fabric"), float(figure)
    for generation, rate in PCIE_GB_S.items():
        if generation in interconnect:
            return "pcie", float(rate)
    return "network", 25.0


def _gpu(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    link, rate = _link(facts["interconnect"])
    return {
        "name": name,
        "aliases": ALIASES.get(name, []),
        "model": facts["model"],
        "architecture": facts["architecture"],
        "compute_capability": facts["compute_capability"],
        "total_gib": facts.get("memory_gib_to_plan_with", facts.get("total_gib")),
        "bandwidth_gb_s": facts.get("memory_bandwidth_gb_s", facts.get("bandwidth_gb_s")),
        "dense_tflops": {key: value for key, value in facts["dense_tflops"].items() if value is not None},
        "link": link,
        "link_gb_s": rate,
        "interconnect": facts["interconnect"],
        "karpenter_name": KARPENTER_NAMES.get(name, ""),
    }


def gpus(facts: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document gpus.json."""
    cards = {NAMES.get(name, name): card for name, card in facts["gpus"].items() if name != "RTXPRO4500"}
    cards |= others["gpus"]
    return {
        "source": [facts["_meta"]["sources"]["gpu memory seen by software"],
                   facts["_meta"]["sources"]["bandwidth and TFLOPS"], others["source"]],
        "date": facts["_meta"]["compiled"],
        "refresh": REFRESH,
        "gpus": [_gpu(name, cards[name]) for name in sorted(cards)],
    }  # fmt: skip


def _kept(instance: Mapping[str, Any]) -> bool:
    return (
        instance["family"] not in LEFT_OUT_FAMILIES
        and not instance["instance_type"].endswith(".metal")
        and instance["gpu_count"] > 0
    )


def _prices(instance: Mapping[str, Any]) -> dict[str, float]:
    listed = instance["price_usd_per_hour"]
    return {region: listed[region]["on_demand"] for region in sorted(listed) if listed[region].get("on_demand")}


def _spot(instance: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Spot prices by region and zone id, without local zones (not in the instance's zone list) and unseen prices."""
    out: dict[str, dict[str, float]] = {}
    for region, entry in sorted((instance.get("spot_usd_per_hour") or {}).items()):
        zones = instance["az_ids"].get(region, [])
        prices = {zone: price for zone, price in sorted(entry.get("by_az_id", {}).items()) if zone in zones and price}
        if prices:
            out[region] = prices
    return out


def _instance(facts: Mapping[str, Any]) -> dict[str, Any]:
    allocatable = facts["karpenter_allocatable"]
    return {
        "instance_type": facts["instance_type"],
        "gpu": NAMES.get(facts["gpu"], facts["gpu"]),
        "gpus": facts["gpu_count"],
        "vcpu": facts["vcpu"],
        "memory_gib": facts["memory_gib"],
        "nvme_gb": facts["local_nvme_gb"] or 0,
        "network_gbps": facts["network_baseline_gbps"] or 0,
        "efa_interfaces": facts["efa_interfaces"] or 0,
        "ebs_baseline_mbps": facts["ebs_baseline_mbps"],
        "allocatable_cpu": int(allocatable["cpu"].removesuffix("m")) / 1000,
        "allocatable_memory_gib": round(int(allocatable["memory"].removesuffix("Mi")) / 1024, 3),
        "allocatable_pods": int(allocatable["pods"]),
        "on_demand_usd_per_hour": _prices(facts),
        "spot_usd_per_hour": _spot(facts),
        "zone_ids": {region: sorted(zones) for region, zones in sorted(facts["az_ids"].items()) if zones},
        "regions": sorted(facts["regions_offered"]),
        "quota_on_demand": facts["service_quota_codes"]["on_demand"],
        "quota_spot": facts["service_quota_codes"]["spot"],
    }


def _system_instance(name: str, facts: Mapping[str, Any], zones: Mapping[str, list[str]]) -> dict[str, Any]:
    memory_mib = math.floor(facts["memory_gib"] * 1024 * 0.925) - (11 * facts["pods"] + 255) - 100
    vcpu = facts["vcpu"]
    reserved = 60 + 10 * min(vcpu - 1, 1) + 5 * max(min(vcpu - 2, 2), 0) + 2.5 * max(vcpu - 4, 0)
    return {
        "instance_type": name, "gpu": "", "gpus": 0, "vcpu": vcpu, "memory_gib": facts["memory_gib"], "nvme_gb": 0,
        "network_gbps": facts["network_gbps"], "efa_interfaces": 0, "ebs_baseline_mbps": facts["ebs_baseline_mbps"],
        "allocatable_cpu": (vcpu * 1000 - reserved) / 1000, "allocatable_memory_gib": round(memory_mib / 1024, 3),
        "allocatable_pods": facts["pods"], "on_demand_usd_per_hour": facts["on_demand"], "spot_usd_per_hour": {},
        "zone_ids": dict(zones), "regions": sorted(zones), "quota_on_demand": "L-1216C47A", "quota_spot": "L-34B43A08",
    }  # fmt: skip


def instances(facts: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document instances.json."""
    rows = [_instance(entry) for entry in facts["instances"] if _kept(entry)]
    zones: dict[str, set[str]] = {}
    for row in rows:
        for region, ids in row["zone_ids"].items():
            zones.setdefault(region, set()).update(ids)
    known = {region: sorted(ids) for region, ids in sorted(zones.items())}
    system = {name: entry for name, entry in others["system_instances"].items() if not name.startswith("_")}
    rows += [_system_instance(name, entry, known) for name, entry in system.items()]
    return {
        "source": [facts["_meta"]["sources"][key] for key in ("specs", "us-east-1 on-demand",
                   "us-west-2, eu-west-1 and spot", "quota codes")] + [others["system_instances"]["_source"]],
        "date": facts["_meta"]["compiled"],
        "refresh": REFRESH,
        "zone_ids": known,
        "quotas": facts["_meta"]["quota_defaults"],
        "instances": sorted(rows, key=lambda row: row["instance_type"]),
    }  # fmt: skip


def main() -> None:
    """Rewrite both files."""
    facts = json.loads((DATA / "aws-gpu-instances.json").read_text(encoding="utf-8"))
    others = json.loads((DATA / "other-gpus.json").read_text(encoding="utf-8"))
    (CATALOGUE / "gpus.json").write_text(dump(gpus(facts, others), "gpus"), encoding="utf-8")
    (CATALOGUE / "instances.json").write_text(dump(instances(facts, others), "instances"), encoding="utf-8")


if __name__ == "__main__":
    main()
