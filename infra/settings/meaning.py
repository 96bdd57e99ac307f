"""What valid settings must also mean: things that exist, free names, one region. A refusal is one line with its key."""

from __future__ import annotations

from collections.abc import Callable

from components.common.iam import Arn, parse_arn
from infra.kubernetes_versions import kubernetes_version, outside_window
from infra.settings.cluster import ClusterSettings
from infra.settings.names import CLUSTER_NAMESPACES, KUBERNETES, OWN_OBJECTS
from infra.settings.networks import check_callers, check_endpoints, check_public_access
from infra.settings.schema import NAMESPACE, REGION_KEY, StackSettings
from infra.settings.serving import ServingSettings
from sizing.catalogue import load_catalogue
from sizing.catalogue.files import engine_rules, serving_facts
from sizing.engine.versions import version_tuple
from sizing.errors import BadInput

PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
"""Partition by the start of a region's name; every other region is of ``aws``."""


def check_meaning(settings: StackSettings, where: str) -> None:
    """Refuse what no cluster could hold; ``where`` is the file, with which every message starts."""
    _check_catalogue(settings, where)
    if isinstance(settings, ServingSettings):
        _check_engines(settings, where)
        _check_names(settings, where)
        _check_arns(settings, where)
        networks, place = settings.gateway.allowed_cidrs, f"{where}: {NAMESPACE}:gateway.allowedCidrs"
        check_callers(networks, settings.gateway.scheme, place)
    else:
        _check_kubernetes(settings, where)
        _check_zones(settings, where)
        _check_admins(settings, where)
        check_public_access(settings.public_access_cidrs, f"{where}: {NAMESPACE}:publicAccessCidrs")
        check_endpoints(settings.interface_endpoints, f"{where}: {NAMESPACE}:interfaceEndpoints")


def _check_catalogue(settings: StackSettings, where: str) -> None:
    """Refuse regions, GPUs, models and instance types that the catalogue does not know, with the nearest ones."""
    catalogue = load_catalogue()
    lookups: list[tuple[str, Callable[[str], object], str]] = [(REGION_KEY, catalogue.region, settings.region)]
    if isinstance(settings, ServingSettings):
        gpus = settings.capacity.gpus or ()
        lookups += [(f"{NAMESPACE}:capacity.gpus[{i}]", catalogue.gpu, gpu) for i, gpu in enumerate(gpus)]
        for index, entry in enumerate(settings.models):
            place = f"{NAMESPACE}:models[{index}]"
            lookups.append((f"{place}.model", catalogue.model, entry.model))
            if entry.engine.gpu is not None:
                lookups.append((f"{place}.engine.gpu", catalogue.gpu, entry.engine.gpu))
    else:
        instance_type = settings.system_nodes.instance_type
        lookups.append((f"{NAMESPACE}:systemNodes.instanceType", catalogue.instance, instance_type))
    for place, look_up, value in lookups:
        try:
            look_up(value)
        except BadInput as error:
            raise BadInput(f"{where}: {place}", error.problem, limit=error.limit, way_out=error.way_out) from None


def _check_engines(settings: ServingSettings, where: str) -> None:
    """Refuse versions of vLLM that are known to be unsafe to serve with; estimates of them are made all the same."""
    least = engine_rules("least_safe")
    for index, entry in enumerate(settings.models):
        version = entry.engine.vllm_version
        if version is not None and version_tuple(version) < version_tuple(least["version"]):
            raise BadInput(
                f"{where}: {NAMESPACE}:models[{index}].engine.vllmVersion",
                f"{version} is not safe: {least['reason']}",
                limit=f"{least['version']} or later",
                way_out="leave the key out, which plans with the newest of the catalogue",
            )


def _check_names(settings: ServingSettings, where: str) -> None:
    """Refuse names that others have: two owners of one object overwrite each other, and one destroys it for both."""
    name = settings.namespace
    if name in CLUSTER_NAMESPACES or name.startswith(KUBERNETES):
        raise BadInput(
            f"{where}: {NAMESPACE}:namespace",
            f"{name!r} is a namespace of the cluster, which this stack would own and on destroy delete",
            limit=f"not {KUBERNETES}..., {', '.join(CLUSTER_NAMESPACES)}",
            way_out="choose another, or leave the key out",
        )
    for index, entry in enumerate(settings.models):
        if entry.name in OWN_OBJECTS:
            raise BadInput(
                f"{where}: {NAMESPACE}:models[{index}].name",
                f"{entry.name!r} is the name of another object in the models' namespace",
                limit=f"not {', '.join(OWN_OBJECTS)}",
                way_out=f"choose another, for example {entry.name}-model",
            )


def _check_arns(settings: ServingSettings, where: str) -> None:
    """Refuse what lies in another region, account or partition: load balancer and secret store look in their own."""
    declared = {
        "gateway.apiKeysSecretArn": settings.gateway.api_keys_secret_arn,
        "gateway.certificateArn": settings.gateway.certificate_arn,
        "hubSecretArn": settings.hub_secret_arn,
    }
    known = {key: parse_arn(arn) for key, arn in declared.items() if arn}
    for key, arn in known.items():
        place, first = f"{where}: {NAMESPACE}:{key}", next(iter(known))
        _check_partition(arn, settings.region, place)
        if arn.region != settings.region:
            raise BadInput(
                place,
                f"is in {arn.region}, where this stack does not look",
                limit=f"{REGION_KEY} {settings.region}",
                way_out=f"make one in {settings.region} and give its ARN",
            )
        if arn.account != known[first].account:
            raise BadInput(
                place,
                f"is in account {arn.account}, {first} in {known[first].account}",
                limit="one account: that of the cluster",
                way_out=f"make one in {known[first].account} and give its ARN",
            )


def _check_partition(arn: Arn, region: str, place: str) -> None:
    wanted = next((part for start, part in PARTITIONS.items() if region.startswith(start)), "aws")
    if arn.partition != wanted:
        problem = f"is of the partition {arn.partition}"
        raise BadInput(place, problem, limit=f"{wanted}, that of {region}", way_out=f"write arn:{wanted}:...")


def _check_admins(settings: ClusterSettings, where: str) -> None:
    """Refuse roles that EKS gives no access: those of another partition and those that belong to AWS services."""
    for index, text in enumerate(settings.admin_role_arns):
        place, arn = f"{where}: {NAMESPACE}:adminRoleArns[{index}]", parse_arn(text)
        _check_partition(arn, settings.region, place)
        if arn.resource.startswith("role/aws-service-role/"):
            raise BadInput(
                place,
                "is the role of an AWS service, which nobody can take on",
                limit="roles of people and CI",
                way_out="name the role that you deploy with",
            )


def _check_kubernetes(settings: ClusterSettings, where: str) -> None:
    """Refuse a Kubernetes version for which no add-ons and node image are known, or that a chart is not made for."""
    place = f"{where}: {NAMESPACE}:kubernetesVersion"
    version = kubernetes_version(settings.kubernetes_version, place).version
    for problem in outside_window(version):
        raise BadInput(place, f"{version} is not what {problem}", way_out="choose a version that every chart is for")


def _check_zones(settings: ClusterSettings, where: str) -> None:
    """Refuse zones of another region, which a zone's id begins with, zones without EKS, and a zone named twice."""
    starts = sorted({_start(zone) for zone in load_catalogue().region(settings.region).zone_ids})
    without, zones = serving_facts("zones")["without_eks_subnets"], settings.zone_ids or ()
    for index, zone in enumerate(zones):
        place = f"{where}: {NAMESPACE}:zoneIds[{index}]"
        if _start(zone) not in starts:
            raise BadInput(
                place,
                f"{zone!r} is not a zone of {settings.region}",
                limit=f"ids that start with {' or '.join(starts)}",
                way_out=f"name zones of {REGION_KEY} {settings.region}",
            )
        if zone in without:
            raise BadInput(
                place,
                f"{zone!r} takes no subnet of an EKS cluster",
                limit=f"any zone but {', '.join(without)}",
                way_out="name another zone of the region",
            )
        if zone in zones[:index]:
            raise BadInput(place, f"{zone!r} is named twice", way_out="name each zone once")


def _start(zone_id: str) -> str:
    """Return the part of a zone's id that stands for its region: ``use1-az`` of ``use1-az4``."""
    return zone_id.rstrip("0123456789")
