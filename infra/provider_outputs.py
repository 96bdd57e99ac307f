"""Outputs of a resource as its provider would return them, synthesised from its inputs without AWS.

Echoing the inputs is not enough: a computed output (``arn``, ``endpoint``) would be None, and an input that depends on
it would silently disappear. So every output that the SDK class declares as always present gets a value by its type
annotation; tables add the formats that other resources parse (ARNs, identifiers, endpoints, certificates). Offline
preview, tests and the rehearsal's AWS stand-in use the same function. It is pure in (token, name, inputs).
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import typing
from collections.abc import Callable, Mapping
from functools import cache

ACCOUNT_ID = "123456789012"
"""The account number in the AWS documentation."""
DEFAULT_REGION = "us-east-1"

Properties = dict[str, object]

_ID_PREFIX = {
    "aws:ec2/eip:Eip": "eipalloc",
    "aws:ec2/flowLog:FlowLog": "fl",
    "aws:ec2/internetGateway:InternetGateway": "igw",
    "aws:ec2/launchTemplate:LaunchTemplate": "lt",
    "aws:ec2/natGateway:NatGateway": "nat",
    "aws:ec2/networkAcl:NetworkAcl": "acl",
    "aws:ec2/routeTable:RouteTable": "rtb",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "rtbassoc",
    "aws:ec2/securityGroup:SecurityGroup": "sg",
    "aws:ec2/securityGroupRule:SecurityGroupRule": "sgrule",
    "aws:ec2/subnet:Subnet": "subnet",
    "aws:ec2/vpc:Vpc": "vpc",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "vpce",
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": "a",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": "sgr",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": "sgr",
}
"""EC2-style identifiers: prefix, then 17 hexadecimal digits."""

_NAME_KEYS = ("name", "bucket", "nodeGroupName", "addonName")

_ARN_PATH = {
    "aws:budgets/budget:Budget": "budgets::{account}:budget/{name}",
    "aws:budgets/budgetAction:BudgetAction": "budgets::{account}:budget/{name}/action/{digest}",
    "aws:cloudwatch/eventRule:EventRule": "events:{region}:{account}:rule/{name}",
    "aws:cloudwatch/logGroup:LogGroup": "logs:{region}:{account}:log-group:{name}",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "cloudwatch:{region}:{account}:alarm:{name}",
    "aws:ecr/repository:Repository": "ecr:{region}:{account}:repository/{name}",
    "aws:eks/cluster:Cluster": "eks:{region}:{account}:cluster/{name}",
    "aws:iam/instanceProfile:InstanceProfile": "iam::{account}:instance-profile/{name}",
    "aws:iam/policy:Policy": "iam::{account}:policy/{name}",
    "aws:iam/role:Role": "iam::{account}:role/{name}",
    "aws:kms/key:Key": "kms:{region}:{account}:key/{uuid}",
    "aws:s3/bucket:Bucket": "s3:::{name}",
    "aws:secretsmanager/secret:Secret": "secretsmanager:{region}:{account}:secret:{name}-AbCdEf",
    "aws:sns/topic:Topic": "sns:{region}:{account}:{name}",
    "aws:sqs/queue:Queue": "sqs:{region}:{account}:{name}",
}
"""ARN after ``arn:aws:`` where it is not the general ``service:region:account:type/id``."""

_ARN_IS_ID = frozenset({"aws:iam/policy:Policy", "aws:secretsmanager/secret:Secret", "aws:sns/topic:Topic"})
_NAME_IS_ID = frozenset(
    {
        "aws:cloudwatch/eventRule:EventRule",
        "aws:cloudwatch/logGroup:LogGroup",
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        "aws:ecr/repository:Repository",
        "aws:eks/cluster:Cluster",
        "aws:iam/instanceProfile:InstanceProfile",
        "aws:iam/role:Role",
        "aws:s3/bucket:Bucket",
    }
)

KUBERNETES_ALIASES = {"helm.sh": "helm"}


def digest(token: str, name: str, length: int = 17) -> str:
    """Return hexadecimal digits that are the same for the same resource in every run."""
    return hashlib.sha256(f"{token}::{name}".encode()).hexdigest()[:length]


def synthesise(token: str, name: str, inputs: Mapping[str, object], region: str = DEFAULT_REGION) -> Properties:
    """Return the outputs of a resource: its inputs and every output that its provider always computes.

    ``token`` is the resource type (``aws:eks/cluster:Cluster``), ``name`` its logical name, ``inputs`` its inputs in
    wire form (camelCase). The identifier is the key ``id``. Component resources and unknown types echo their inputs.
    """
    package = token.split(":", 1)[0]
    if package == "aws":
        return _aws(token, name, inputs, region)
    if package == "kubernetes":
        return _kubernetes(token, name, inputs)
    return {**inputs, "id": f"{name}-id"}


def resource_class(token: str) -> type | None:
    """Return the SDK class of a resource type, by the naming convention of the SDKs; None if there is none."""
    package, _, rest = token.partition(":")
    module, _, class_name = rest.partition(":")
    if package == "aws":
        path = f"pulumi_aws.{module.split('/')[0]}"
    elif package == "kubernetes":
        group, _, version = module.partition("/")
        group = KUBERNETES_ALIASES.get(group, group.split(".")[0])
        path = f"pulumi_kubernetes.{group}.{version}"
    else:
        return None
    try:
        found = getattr(importlib.import_module(path), class_name, None)
    except ImportError:
        return None
    return found if isinstance(found, type) else None


@cache
def declared_outputs(token: str) -> Mapping[str, object]:
    """Return the outputs that a resource class declares as always present: wire name -> type."""
    owner = resource_class(token)
    if owner is None:
        return {}
    return {wire: kind for wire, kind in _annotated(owner).items() if not _is_optional(kind)}


def _annotated(owner: type) -> dict[str, object]:
    """Return wire name -> annotated type of every generated property of an SDK class (``Output[T]`` gives T)."""
    found: dict[str, object] = {}
    for name, member in sorted(vars(owner).items()):
        getter = member.fget if isinstance(member, property) else None
        if getter is None or "return" not in getattr(getter, "__annotations__", {}):
            continue
        kind = _return_type(getter)
        arguments = typing.get_args(kind)
        is_output = getattr(typing.get_origin(kind), "__name__", "") == "Output"
        found[getattr(getter, "_pulumi_name", name)] = arguments[0] if is_output and arguments else kind
    return found


def _return_type(getter: Callable[..., object]) -> object:
    """Return the evaluated annotation; a module that nests its own output types does not import ``outputs``."""
    try:
        return typing.get_type_hints(getter)["return"]
    except NameError:
        package = getter.__module__.rpartition(".")[0]
        return typing.get_type_hints(getter, None, {"outputs": importlib.import_module(f"{package}.outputs")})["return"]


def _is_optional(kind: object) -> bool:
    return type(None) in typing.get_args(kind)


def _filler(kind: object, label: str, depth: int = 0) -> object:
    """Return a placeholder value of a type; ``label`` makes strings recognisable."""
    if _is_optional(kind):
        kind = next(argument for argument in typing.get_args(kind) if argument is not type(None))
    origin = typing.get_origin(kind)
    if kind in (str, bool, int, float):
        fillers: dict[object, object] = {str: label, bool: False, int: 0, float: 0.0}
        return fillers[kind]
    if origin in (dict,) or getattr(origin, "__name__", "") == "Mapping":
        return {}
    if origin is list or getattr(origin, "__name__", "") == "Sequence":
        return []
    if isinstance(kind, type) and depth < 4:
        return {wire: _filler(inner, f"{label}-{wire}", depth + 1) for wire, inner in _annotated(kind).items()}
    return label


def physical_name(token: str, name: str, inputs: Mapping[str, object]) -> str:
    """Return the physical name: the one in the inputs, or the logical name with a suffix, as Pulumi's autonaming."""
    for key in _NAME_KEYS:
        given = inputs.get(key)
        if isinstance(given, str) and given:
            return given
    prefix = inputs.get("namePrefix") or inputs.get("bucketPrefix")
    return f"{prefix if isinstance(prefix, str) else name + '-'}{digest(token, name, 7)}"


def arn_of(token: str, name: str, region: str) -> str:
    """Return the ARN of a resource with that physical name."""
    mark = digest(token, name, 32)
    uuid = "-".join((mark[:8], mark[8:12], mark[12:16], mark[16:20], mark[20:32]))
    service, _, kind = token.split(":")[1].partition("/")
    default = f"{service}:{{region}}:{{account}}:{kind.lower()}/{{name}}"
    pattern = _ARN_PATH.get(token, default)
    return "arn:aws:" + pattern.format(
        region=region, account=ACCOUNT_ID, name=name, digest=digest(token, name), uuid=uuid
    )


def _aws(token: str, name: str, inputs: Mapping[str, object], region: str) -> Properties:
    given_region = inputs.get("region")
    region = given_region if isinstance(given_region, str) and given_region else region
    cloud_name = physical_name(token, name, inputs)
    prefix = _ID_PREFIX.get(token)
    identity = f"{prefix}-0{digest(token, name, 16)}" if prefix else ""
    arn = arn_of(token, identity or cloud_name, region)
    outputs: Properties = {"arn": arn, "id": identity or _aws_id(token, name, cloud_name, arn, inputs)}
    declared = declared_outputs(token)
    for key, kind in declared.items():
        outputs.setdefault(key, _filler(kind, f"{name}-{key}"))
    known = {"name": cloud_name, "nodeGroupName": cloud_name, "region": region}
    outputs.update({key: value for key, value in known.items() if key in declared})
    outputs.update({"tagsAll": inputs.get("tags", {})} if "tagsAll" in declared else {})
    outputs.update(inputs)
    special = _SPECIAL.get(token)
    if special is not None:
        outputs.update(special(name, cloud_name, region, outputs))
    return outputs


def _aws_id(token: str, name: str, cloud_name: str, arn: str, inputs: Mapping[str, object]) -> str:
    if token in _ARN_IS_ID:
        return arn
    if token in _NAME_IS_ID:
        return cloud_name
    cluster = inputs.get("clusterName")
    if isinstance(cluster, str):
        part = next((inputs[key] for key in ("addonName", "nodeGroupName", "principalArn") if key in inputs), name)
        return f"{cluster}:{part}"
    return f"{name}-{digest(token, name, 10)}"


def _cluster(name: str, cloud_name: str, region: str, outputs: Properties) -> Properties:
    token = "aws:eks/cluster:Cluster"  # noqa: S105 (a resource type)
    mark = digest(token, name, 32).upper()
    vpc = dict(typing.cast("Mapping[str, object]", outputs.get("vpcConfig") or {}))
    vpc.setdefault("clusterSecurityGroupId", f"sg-0{digest('cluster-sg', name, 16)}")
    vpc.setdefault("vpcId", f"vpc-0{digest('cluster-vpc', name, 16)}")
    certificate = f"-----BEGIN CERTIFICATE-----\n{mark}\n-----END CERTIFICATE-----\n"
    return {
        "certificateAuthority": {"data": base64.b64encode(certificate.encode()).decode()},
        "certificateAuthorities": [{"data": base64.b64encode(certificate.encode()).decode()}],
        "endpoint": f"https://{mark}.gr7.{region}.eks.amazonaws.com",
        "identities": [{"oidcs": [{"issuer": f"https://oidc.eks.{region}.amazonaws.com/id/{mark}"}]}],
        "name": cloud_name,
        "platformVersion": "eks.1",
        "status": "ACTIVE",
        "vpcConfig": vpc,
    }


def _repository(_name: str, cloud_name: str, region: str, _outputs: Properties) -> Properties:
    host = f"{ACCOUNT_ID}.dkr.ecr.{region}.amazonaws.com"
    return {"registryId": ACCOUNT_ID, "repositoryUrl": f"{host}/{cloud_name}"}


def _bucket(_name: str, cloud_name: str, region: str, _outputs: Properties) -> Properties:
    return {
        "bucket": cloud_name,
        "bucketDomainName": f"{cloud_name}.s3.amazonaws.com",
        "bucketRegionalDomainName": f"{cloud_name}.s3.{region}.amazonaws.com",
    }


def _queue(_name: str, cloud_name: str, region: str, _outputs: Properties) -> Properties:
    url = f"https://sqs.{region}.amazonaws.com/{ACCOUNT_ID}/{cloud_name}"
    return {"id": url, "url": url}


def _launch_template(_name: str, _cloud_name: str, _region: str, _outputs: Properties) -> Properties:
    return {"defaultVersion": 1, "latestVersion": 1}


def _subnet(_name: str, _cloud_name: str, region: str, outputs: Properties) -> Properties:
    zone_id = str(outputs.get("availabilityZoneId") or "use1-az1")
    letter = "abcdef"[(int(zone_id[-1]) - 1) % 6] if zone_id[-1].isdigit() else "a"
    return {"availabilityZone": outputs.get("availabilityZone") or f"{region}{letter}", "availabilityZoneId": zone_id}


def _key(name: str, _cloud_name: str, region: str, _outputs: Properties) -> Properties:
    arn = arn_of("aws:kms/key:Key", name, region)
    return {"arn": arn, "id": arn.rsplit("/", 1)[1], "keyId": arn.rsplit("/", 1)[1]}


def _role(name: str, _cloud_name: str, _region: str, _outputs: Properties) -> Properties:
    return {"uniqueId": "AROA" + digest("aws:iam/role:Role", name, 17).upper()}


_Special = Callable[[str, str, str, Properties], Properties]
_SPECIAL: Mapping[str, _Special] = {
    "aws:ec2/launchTemplate:LaunchTemplate": _launch_template,
    "aws:ec2/subnet:Subnet": _subnet,
    "aws:ecr/repository:Repository": _repository,
    "aws:eks/cluster:Cluster": _cluster,
    "aws:iam/role:Role": _role,
    "aws:kms/key:Key": _key,
    "aws:s3/bucket:Bucket": _bucket,
    "aws:sqs/queue:Queue": _queue,
}


def _kubernetes(token: str, name: str, inputs: Mapping[str, object]) -> Properties:
    outputs: Properties = dict(inputs)
    if token.startswith("kubernetes:helm.sh/"):
        release = str(inputs.get("name") or name)
        namespace = str(inputs.get("namespace") or "default")
        status = {"name": release, "namespace": namespace, "status": "deployed", "version": inputs.get("version", "")}
        return {"resourceNames": {}, **outputs, "name": release, "status": status, "id": f"{namespace}/{release}"}
    metadata = dict(typing.cast("Mapping[str, object]", inputs.get("metadata") or {}))
    metadata.setdefault("name", f"{name}-{digest(token, name, 8)}")
    metadata.setdefault("uid", digest(token, name, 32))
    namespace = metadata.get("namespace")
    outputs["metadata"] = metadata
    outputs["id"] = f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])
    spec = inputs.get("spec")
    if token.endswith(":Service") and isinstance(spec, Mapping) and spec.get("type") == "LoadBalancer":
        outputs["status"] = {"loadBalancer": {"ingress": [{"hostname": f"{name}.elb.amazonaws.com"}]}}
    return outputs
