"""The bill of a serving stack, line by line: floor, expected and ceiling in USD per hour.

``fixed_bill_cluster`` is the bill of the cluster stack (control plane, system nodes, NAT, endpoints, registry), which
has its own stack and no GPU. Monthly prices are divided by 730 hours.
"""

from __future__ import annotations

from collections.abc import Sequence

from sizing.catalogue import Catalogue
from sizing.catalogue.files import serving_facts
from sizing.cost.transfer import StackTraffic, constant, traffic_lines
from sizing.inputs import ModelEntry
from sizing.plan import BillLine, Bounds, Disk, NodePoolPlan, ServingPlan, VectorStorePlan
from sizing.units import HOURS_PER_MONTH


def total(lines: Sequence[BillLine]) -> Bounds:
    """Sum of the lines, rounded to a millionth of a dollar."""
    return Bounds(
        floor=round(sum(line.usd_per_hour.floor for line in lines), 6),
        expected=round(sum(line.usd_per_hour.expected for line in lines), 6),
        ceiling=round(sum(line.usd_per_hour.ceiling for line in lines), 6),
    )


def disk_usd_per_hour(disk: Disk, region: str, catalogue: Catalogue) -> float:
    """USD per hour of one gp3 volume; its size price includes 3000 IOPS and 125 MiB/s."""
    facts = serving_facts("disk")
    month = disk.size_gib * catalogue.price("ebs_gp3_usd_per_gb_month", region)
    month += (disk.iops - facts["base_iops"]) * catalogue.price("ebs_gp3_usd_per_iops_month", region)
    extra = disk.throughput_mib_per_s - facts["base_mib_per_s"]
    month += extra * catalogue.price("ebs_gp3_usd_per_mib_per_s_month", region)
    return float(month / HOURS_PER_MONTH)


def model_fixed_usd_per_hour(weights_bytes: int, replicas: float, region: str, catalogue: Catalogue) -> float:
    """Fixed cost of one model in USD per hour: weights in S3, alarms, and logs of ``replicas``.

        month = GB of weights x (S3 + NAT price) + alarms + replicas x GB of logs x log price

    The weights come through NAT once a month: at most one new revision is assumed.
    """
    facts = serving_facts("logs")
    stored = catalogue.price("s3_standard_usd_per_gb_month", region) + catalogue.price("nat_gateway_usd_per_gb", region)
    month = weights_bytes / 1e9 * stored
    month += facts["alarms_per_model"] * catalogue.price("cloudwatch_alarm_usd_per_month", region)
    month += replicas * facts["gb_per_replica_month"] * catalogue.price("cloudwatch_logs_usd_per_gb", region)
    return float(month / HOURS_PER_MONTH)


def _nodes_lines(pool: NodePoolPlan, region: str, catalogue: Catalogue) -> tuple[BillLine, BillLine]:
    volume = disk_usd_per_hour(pool.disk, region, catalogue)
    types = ", ".join(offer.instance_type for offer in pool.offers)
    sharing = f", shared by {', '.join(pool.models)}" if len(pool.models) > 1 else ""
    counts = f"{pool.floor_instances}/{pool.mean_instances:.4g}/{pool.ceiling_instances} nodes"
    return (
        BillLine(
            name=f"GPU nodes {pool.name}",
            usd_per_hour=pool.usd_per_hour,
            rule=f"{counts} of {types}{sharing}; ceiling at the dearest on-demand price{_short_of_spot(pool)}",
        ),
        BillLine(
            name=f"disks {pool.name}",
            usd_per_hour=Bounds(
                floor=pool.floor_instances * volume,
                expected=pool.mean_instances * volume,
                ceiling=pool.ceiling_instances * volume,
            ),
            rule=f"{counts} x gp3 {pool.disk.size_gib} GiB, {pool.disk.throughput_mib_per_s} MiB/s",
        ),
    )


def _short_of_spot(pool: NodePoolPlan) -> str:
    """Return what makes the bill of spot differ from the expected one; the ceiling holds in each case."""
    if pool.fallback_capacity_type is None:
        return ""
    return (
        "; a zone is chosen before its spot price is looked at; where spot is not sold nodes are on demand, and stay so"
        " until they are empty"
    )


def _model_line(plan: ServingPlan, region: str, catalogue: Catalogue) -> BillLine:
    counts = (plan.replicas.floor, plan.replicas.mean, plan.replicas.ceiling)
    floor, expected, ceiling = (model_fixed_usd_per_hour(plan.weights_bytes, n, region, catalogue) for n in counts)
    return BillLine(
        name=f"weights, logs and alarms {plan.name}",
        usd_per_hour=Bounds(floor=floor, expected=expected, ceiling=ceiling),
        rule=f"{plan.weights_bytes / 1e9:.1f} GB in S3, ingested once a month, logs per replica, alarms",
    )


def memory_usd_per_gib_hour(region: str, catalogue: Catalogue) -> float:
    """Cheapest USD per GiB and hour among the system instance types of the catalogue."""
    system = [i for i in catalogue.all_instances if i.gpus == 0 and region in i.on_demand_usd_per_hour and not i.gpu]
    return min(i.on_demand_usd_per_hour[region] / i.allocatable_memory_gib for i in system)


def _snapshots(store: VectorStorePlan, region: str, catalogue: Catalogue) -> tuple[float, int]:
    """Return USD per hour of the daily snapshots in S3, and for how many days they are kept.

    GB = replicas x disk / disk_factor x days
    """
    facts = serving_facts("vector_store")
    days = store.snapshot_days + store.snapshot_version_days
    gigabytes = store.replicas * store.disk_gib / facts["disk_factor"] * days
    return gigabytes * catalogue.price("s3_standard_usd_per_gb_month", region) / HOURS_PER_MONTH, days


def shared_lines(
    vector_store: VectorStorePlan | None, region: str, catalogue: Catalogue, traffic: StackTraffic | None = None
) -> tuple[BillLine, ...]:
    """Lines of a serving stack that do not depend on its nodes; ``traffic`` adds load balancer units and transfer."""
    lines = list(traffic_lines(traffic or StackTraffic(), region, catalogue))
    if vector_store is not None:
        memory = vector_store.replicas * vector_store.memory_gib * memory_usd_per_gib_hour(region, catalogue)
        gigabytes = vector_store.replicas * vector_store.disk_gib
        disk = gigabytes * catalogue.price("ebs_gp3_usd_per_gb_month", region) / HOURS_PER_MONTH
        kept, days = _snapshots(vector_store, region, catalogue)
        each = f"{vector_store.memory_gib:g} GiB of a system node, {vector_store.disk_gib} GiB gp3"
        rule = f"{vector_store.replicas} x ({each}), daily snapshots of {days} days in S3"
        lines.append(BillLine(name="vector store", usd_per_hour=constant(memory + disk + kept), rule=rule))
    month = catalogue.price("kms_key_usd_per_month", region) + 2 * catalogue.price("secret_usd_per_month", region)
    lines.append(
        BillLine(
            name="key and secrets",
            usd_per_hour=constant(month / HOURS_PER_MONTH),
            rule="one KMS key, two secrets (gateway keys, vector store key)",
        )
    )
    return tuple(lines)


def fixed_usd_per_hour(entry: ModelEntry, zones: int, region: str, catalogue: Catalogue) -> float:
    """Return the ceiling of the ``shared_lines`` of one model: load balancer, transfer, key, secrets; USD per hour."""
    return total(shared_lines(None, region, catalogue, StackTraffic(entries=(entry,), zones=zones))).ceiling


def bill_of(
    plans: Sequence[ServingPlan],
    pools: Sequence[NodePoolPlan],
    vector_store: VectorStorePlan | None,
    region: str,
    catalogue: Catalogue,
    *,
    traffic: StackTraffic | None = None,
) -> tuple[BillLine, ...]:
    """Return all lines of a serving stack, in the order of its pools and models."""
    lines = [line for pool in pools for line in _nodes_lines(pool, region, catalogue)]
    lines += [_model_line(plan, region, catalogue) for plan in plans]
    return (*lines, *shared_lines(vector_store, region, catalogue, traffic))


def per_month(usd_per_hour: Bounds) -> Bounds:
    """USD per month of 730 hours."""
    return Bounds(
        floor=usd_per_hour.floor * HOURS_PER_MONTH,
        expected=usd_per_hour.expected * HOURS_PER_MONTH,
        ceiling=usd_per_hour.ceiling * HOURS_PER_MONTH,
    )
