"""Random stack files: a cluster and the stack that serves on it, drawn from the settings' own JSON schema.

A new key is drawn as soon as the schema has it. Most values are such as people write; some files are then spoiled:
a key misspelt, dropped or doubled, a value of another type, size, sign or script.
"""

from __future__ import annotations

import copy
import datetime
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.settings.schema import schema
from sizing.catalogue import load_catalogue
from sizing.nodes.zones import network_zones

Document = dict[str, Any]
CATALOGUE = load_catalogue()
DEFINITIONS: Mapping[str, Any] = schema()["$defs"]
REGIONS = tuple(region.name for region in CATALOGUE.regions)
GPUS = tuple(sorted({one.gpu for one in CATALOGUE.all_instances if one.gpu}))
DIGEST = "sha256:" + "0" * 64
OFTEN = {"EngineOverrides": 0.04, "ServingSettings": 0.3, "ClusterSettings": 0.3, "Workload": 0.1}
"""How often an optional key is stated, by the type that has it."""
RARELY = {
    "inputTokensP95": 0.02,
    "outputTokensP95": 0.02,
    "trace": 0.01,
    "dailyShape": 0.1,
    "allowedVariants": 0.05,
    "lossTolerance": 0.15,
    "gpus": 0.3,
}
WORKLOAD = ("requestsPerSecond", "inputTokens", "outputTokens")
NAMES = (
    "chat", "a", "qdrant", "vectors", "serving", "gateway", "default", "kube-system", "keda", "tonnage", "team-x",
    "x" * 40, "a-" + "b" * 37, "model-ingest", "monitoring", "chat-floor", "chat-spot", "chat-burst", "gpus", "gp3",
)  # fmt: skip
SECRETS = "arn:aws:secretsmanager:{region}:123456789012:secret:tonnage/{stack}/{name}-AbCdEf"


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """One drawing: its random numbers, its region and stack, and how often a value is an odd one."""

    numbers: random.Random
    stack: str
    region: str
    odd: float

    def one(self, *usual: Any, odd: Sequence[Any] = ()) -> Any:
        """Return one of the usual values, or now and then an odd one."""
        return self.numbers.choice(odd if odd and self.chance(self.odd) else usual)

    def some(self, values: Sequence[Any], most: int) -> list[Any]:
        """Return one to ``most`` different values, or as odd ones the same value twice."""
        found = self.numbers.sample(values, self.numbers.randint(1, min(most, len(values))))
        return [*found, found[0]] if self.chance(self.odd) else found

    def near(self, low: float, high: float) -> float:
        """Return a number between the two, as likely in each of its powers of ten."""
        return math.exp(self.numbers.uniform(math.log(low), math.log(high)))

    def chance(self, share: float) -> bool:
        """Tell whether something happens that happens this often."""
        return self.numbers.random() < share

    def elsewhere(self) -> str:
        """Return the region, or now and then another."""
        return self.numbers.choice(REGIONS) if self.chance(self.odd) else self.region

    def secret(self, name: str) -> str:
        """Return the ARN of a secret of the environment, or now and then of another."""
        stack = "other" if self.chance(self.odd) else self.stack
        return SECRETS.format(region=self.elsewhere(), stack=stack, name=name)


KNOWN: Mapping[str, Callable[[_Draw], Any]] = {
    "name": lambda d: d.one(f"m{d.numbers.randrange(10**6)}", f"{'x' * 35}{d.numbers.randrange(10**5)}", odd=NAMES),
    "model": lambda d: d.one(*CATALOGUE.models),
    "allowedVariants": lambda d: d.some(CATALOGUE.models, 2),
    "revision": lambda d: "0123456789abcdef0123456789abcdef01234567",
    "trace": lambda d: d.one("trace.csv", "../trace.csv", ".", ""),
    "requestsPerSecond": lambda d: d.near(0.01, 20),
    "inputTokens": lambda d: int(d.near(1, 4000)),
    "outputTokens": lambda d: d.one(1, int(d.near(1, 1000)), int(d.near(1, 1000))),
    "inputTokensP95": lambda d: int(d.near(1000, 12000)),
    "outputTokensP95": lambda d: int(d.near(300, 3000)),
    "longestOutputTokens": lambda d: int(d.near(500, 30000)),
    "minimumShare": lambda d: d.one(0.0, 0.2, 1.0),
    "prefixShare": lambda d: d.one(0.0, 0.5, 0.99),
    "batchShare": lambda d: d.one(0.0, 0.3, 0.99),
    "peakFactor": lambda d: d.one(1, 1.5, 4, odd=(100,)),
    "dailyShape": lambda d: [1.0] + [round(d.numbers.random(), 2) for _ in range(d.one(23, odd=(22,)))],
    "ttftP95Ms": lambda d: d.near(500, 60000),
    "tpotP95Ms": lambda d: d.near(20, 500),
    "floor": lambda d: d.one(0, 0, 1, 2, 3, odd=(1000,)),
    "ceiling": lambda d: d.one(4, 8, 20, odd=(1, 1000)),
    "gpu": lambda d: d.one(*GPUS),
    "gpus": lambda d: d.some(GPUS, len(GPUS)),
    "vllmVersion": lambda d: d.one("0.32.0", "0.31.0", odd=("0.14.1", "0.8.0", "latest", "0.32")),
    "tensorParallel": lambda d: d.one(1, 2, 4, 8, odd=(3, 64)),
    "pipelineParallel": lambda d: d.one(1, 2, 4, odd=(3, 64)),
    "dataParallel": lambda d: d.one(1, 2, 8, odd=(3, 64)),
    "decodeContextParallel": lambda d: d.one(1, 1, 2, odd=(3, 64)),
    "speculativeMethod": lambda d: d.one("ngram", "mtp", odd=("eagle", "draft", "medusa")),
    "maxModelLen": lambda d: int(d.near(2000, 200000)),
    "gpuMemoryUtilization": lambda d: d.one(0.9, 0.8, 0.95, odd=(0.001, 1)),
    "blockSize": lambda d: d.one(16, 32, 128, odd=(17, 1024)),
    "maxLoras": lambda d: d.one(1, 4, odd=(0, 1024)),
    "limitMmPerPrompt": lambda d: d.one(0, 1, 4, odd=(999,)),
    "spotShare": lambda d: d.one(0, 0.5, 1),
    "code": lambda d: d.one("L-DB2E81BA", "L-417A185B", "L-3819A6DF", odd=("L-00000000",)),
    "vcpus": lambda d: d.one(10_000, 2000, 100_000, odd=(0, 4)),
    "monthlyUsd": lambda d: d.near(5000, 5e7),
    "notify": lambda d: d.some(("a@example.com", "b@example.com", "a" * 60 + "+x@example.com"), 3),
    "vectors": lambda d: int(d.near(1, 1e7)) * d.one(1, odd=(1000,)),
    "dimensions": lambda d: d.one(1, 384, 1024, odd=(65_536,)),
    "diskGib": lambda d: d.one(100, 500, odd=(20, 16_384)),
    "permissionsBoundaryArn": lambda d: "arn:aws:iam::123456789012:policy/boundary",
    "registryMirror": lambda d: f"123456789012.dkr.ecr.{d.region}.amazonaws.com/docker-hub",
    "flowLogDays": lambda d: d.one(0, 7, 365, odd=(8,)),
    "apiAccessCidrs": lambda d: d.some(("10.0.0.0/8", "192.168.7.0/24", *d.one((), odd=(("::/0",),))), 2),
    "imageDigest": lambda d: DIGEST,
    "toolsDigest": lambda d: DIGEST,
    "certificateArn": lambda d: f"arn:aws:acm:{d.elsewhere()}:123456789012:certificate/x",
    "apiKeysSecretArn": lambda d: d.secret("keys"),
    "hubSecretArn": lambda d: d.secret("hub"),
    "clusterStack": lambda d: d.one(f"{d.stack}-cluster", odd=(d.stack, "other", "x" * 40)),
    "namespace": lambda d: d.one("ml", "team", "x" * 40, odd=NAMES),
    "zoneIds": lambda d: d.some(CATALOGUE.region(d.elsewhere()).zone_ids, 5),
    "cidr": lambda d: d.one("10.40.0.0/16", "10.40.0.0/20", odd=("10.40.0.0/24", "10.40.0.1/16", "8.8.0.0/16", "::/0")),
    "interfaceEndpoints": lambda d: d.some(("ecr.api", "sts", "ecr.dkr", *d.one((), odd=(("s3", "x y"),))), 3),
    "kubernetesVersion": lambda d: d.one("1.36", odd=("1.35", "1.99")),
    "adminRoleArns": lambda d: [
        f"arn:aws:iam::{d.one('123456789012', odd=('210987654321',))}:role/{name}"
        for name in d.some(("admin", "path/ci", "a" * 64, *d.one((), odd=(("path/admin",),))), 3)
    ],
    "publicAccessCidrs": lambda d: d.some(("203.0.113.0/24", "198.51.100.7/32", *d.one((), odd=(("::/0",),))), 2),
    "allowedCidrs": lambda d: d.some(
        ("203.0.113.0/24", "10.0.0.0/8", *d.one((), odd=(("2001:db8::/32", "0.0.0.0/0"),))), 3
    ),
    "instanceType": lambda d: d.one("m7i.large", "m7i.2xlarge", odd=("g6.xlarge", "t2.nano")),
    "count": lambda d: d.one(2, 3, 6),
}  # fmt: skip
"""Values of keys that a schema cannot know: what exists, what exists elsewhere, and figures of likely size."""

JUNK: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2**63, 10**40, -0.0, 0.5, 1e308, 5e-324, float("nan"), float("inf"), "", " ", "null",
    "ünï-çödé", "\u202eevil", "a" * 300, "0", "1,000", "10 USD", "-1", "~", "[", "{}", "../../etc/passwd", "${HOME}",
    "line\nbreak", "\ttab", "emoji 🚀", "\x7f", [], {}, [[]], {"": None}, {"secure": "v1:abc"}, ["x", 1], b"bytes",
    datetime.date(2026, 1, 1), [None], {"a": {"b": {"c": 1}}}, "NaN", "yes", "1.36", "0x10", "arn:aws:iam::1:role/x",
)  # fmt: skip
STACKS = (
    *("team",) * 20, "t", "0", "team-2-cluster", "x" * 27, "x" * 40,
    "Team", "team_2", "team.eu", "x" * 41, "x" * 100, "téam", "-a", "a--b",
)  # fmt: skip
"""Names of stacks, of which names of AWS are derived."""


def serving_file(numbers: random.Random) -> tuple[str, Document]:
    """Return the name of a serving stack and its configuration."""
    draw = _drawing(numbers)
    return draw.stack, _spoilt(draw, _layer(draw, "ServingSettings"))


def cluster_file(numbers: random.Random) -> tuple[str, Document]:
    """Return the name of a cluster stack and its configuration."""
    draw = _drawing(numbers)
    return f"{draw.stack}-cluster", _spoilt(draw, _layer(draw, "ClusterSettings"))


def fitting_cluster(region: str) -> Document:
    """Return the configuration of a cluster on which every stack of the region can be served."""
    zones = min(4, len(network_zones(region, CATALOGUE)))
    roles = ["arn:aws:iam::123456789012:role/admin"]
    return {"aws:region": region, "tonnage:layer": "cluster", "tonnage:zones": zones, "tonnage:adminRoleArns": roles,
            "tonnage:systemNodes": {"count": 12, "instanceType": "m7i.2xlarge"}}  # fmt: skip


def _drawing(numbers: random.Random) -> _Draw:
    stack, region = numbers.choice(STACKS), numbers.choice(REGIONS)
    return _Draw(numbers=numbers, stack=stack, region=region, odd=numbers.choice((0, 0, 0, 0.05, 0.2)))


def _layer(draw: _Draw, name: str) -> Document:
    document = _object(draw, name)
    layer = "cluster" if name == "ClusterSettings" else "serving"
    return {**document, "tonnage:layer": layer, "aws:region": draw.region}


def _spoilt(draw: _Draw, document: Document) -> Document:
    """Change nothing, or one thing, or two, somewhere in the document."""
    for _ in range(draw.one(0, 0, 0, 0, 0, 1, 1, 2)):
        _spoil(draw, document)
    return document


def _object(draw: _Draw, name: str) -> Document:
    definition = DEFINITIONS[name]
    required = definition.get("required", [])
    stated = OFTEN.get(name, 0.25)
    return {
        key: _value(draw, key.rpartition(":")[2], field)
        for key, field in definition.get("properties", {}).items()
        if key in required or key in WORKLOAD or draw.chance(RARELY.get(key, stated))
    }


def _value(draw: _Draw, key: str, field: Mapping[str, Any]) -> Any:
    if key in KNOWN and not draw.chance(draw.odd / 10):
        return KNOWN[key](draw)
    options = [one for one in field.get("anyOf", [field]) if one.get("type") != "null"]
    return _of_type(draw, draw.one(*options), key)


def _of_type(draw: _Draw, field: Mapping[str, Any], key: str) -> Any:
    if "$ref" in field:
        return _object(draw, field["$ref"].rpartition("/")[2])
    if "const" in field or "enum" in field:
        return draw.one(*(field.get("enum") or [field["const"]]))
    kind = field.get("type", "string")
    if kind == "array":
        fewest = max(field.get("minItems", 0), 1)
        return [_of_type(draw, field["items"], key) for _ in range(fewest + draw.one(0, 0, 1, 2))]
    if kind == "boolean":
        return draw.chance(0.5)
    return _number(draw, field) if kind in {"integer", "number"} else draw.one(*NAMES)


def _number(draw: _Draw, field: Mapping[str, Any]) -> float:
    low = field.get("minimum", field.get("exclusiveMinimum", 0))
    high = field.get("maximum", field.get("exclusiveMaximum", 1000))
    default = field.get("default")
    if default is not None and draw.chance(0.5):
        return default
    least = max(low, 0.01)
    value = draw.one(draw.near(least, max(least, min(high, least * 100))), odd=(low, high))
    return round(value) if field["type"] == "integer" else value


def _spoil(draw: _Draw, document: Document) -> None:
    holder, key = draw.one(*_places(document))
    change = draw.numbers.randrange(6)
    if change == 0 and isinstance(holder, dict):
        holder[_misspelt(draw, str(key))] = holder.pop(key)
    elif change == 1:
        del holder[key]
    elif change == 2 and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    elif change == 3 and isinstance(holder[key], (int, float)):
        holder[key] = draw.one(-holder[key], holder[key] * 1000, holder[key] / 1000, str(holder[key]))
    else:
        holder[key] = copy.deepcopy(draw.one(*JUNK))


def _places(value: Any) -> list[tuple[Any, Any]]:
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [(value, key) for key, _ in items] + [place for _, inner in items for place in _places(inner)]


def _misspelt(draw: _Draw, key: str) -> str:
    at = draw.numbers.randrange(len(key) + 1)
    return draw.one(key.upper(), key[:at] + key[at + 1 :], key[:at] + "x" + key[at:], key.replace(":", ""), f"{key} ")
