"""Random stack files: each is planned, refused in one line or over budget; what is planned renders a sound graph."""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import infra.offline
from infra.offline import OfflineGraph, run_offline
from infra.preview import build_preview
from infra.recording import RecordedResource
from policies.graph import Resource
from policies.registry import judge
from sizing.errors import TonnageError
from tests.support.graphs import problems
from tests.support.stack_files import REGIONS, Document, cluster_file, fitting_cluster, serving_file

LONGEST_LINE = 700
RANDOM = st.randoms(use_true_random=False)
MANY = settings(max_examples=500, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(MANY, max_examples=6)
OUTCOMES: Counter[str] = Counter()
"""What became of the files of this run, by the type of the refusal."""


@pytest.fixture(autouse=True, scope="module")
def _each_cluster_once():
    """Keep the exports of every cluster: a stack file has three at most, a run of this module has hundreds."""
    kept = infra.offline._exports
    infra.offline._exports = cache(kept.__wrapped__)
    yield
    infra.offline._exports = kept


def write(folder: Path, stack: str, document: Document) -> None:
    text = yaml.safe_dump({"config": document}, allow_unicode=True)
    (folder / f"Pulumi.{stack}.yaml").write_text(text, encoding="utf-8")


def cluster_name(stack: str, document: Document) -> str:
    """Return the cluster that a serving stack names, where a file can have that name."""
    named = document.get("tonnage:clusterStack")
    fits = isinstance(named, str) and named.isalnum() and len(named) < 100 and named != stack
    return named if fits else f"{stack}-cluster"


@cache
def cluster_resources(stack: str, region: str) -> tuple[RecordedResource, ...]:
    with TemporaryDirectory() as folder:
        write(Path(folder), stack, fitting_cluster(region))
        return run_offline(stack, stacks_dir=Path(folder)).resources


def outcome(stack: str, folder: Path) -> OfflineGraph | None:
    """Return the graph of a stack; None where it is refused, in one line that can be printed."""
    refused, graph = None, None
    try:
        graph = run_offline(stack, stacks_dir=folder)
    except TonnageError as error:
        refused = error
    OUTCOMES[type(refused).__name__] += 1
    if refused:
        assert refused.exit_code in {2, 3}
        assert refused.line().isprintable()
        assert len(refused.line()) < LONGEST_LINE, refused.line()
    return graph


def assert_sound(graph: OfflineGraph, beside: tuple[RecordedResource, ...] = ()) -> None:
    assert problems([*beside, *graph.resources]) == []
    verdicts = judge(Resource(type=r.type, name=r.name, urn=r.urn, props=r.props) for r in graph.resources)
    assert [(one.rule, one.violations) for one in verdicts if not one.passed] == []
    assert build_preview(graph.stack, graph, [])["resources"]


def check_serving_file(numbers: random.Random) -> None:
    stack, document = serving_file(numbers)
    stated = document.get("aws:region")
    region = stated if stated in REGIONS else REGIONS[0]
    cluster = cluster_name(stack, document)
    with TemporaryDirectory() as folder:
        write(Path(folder), stack, document)
        write(Path(folder), cluster, fitting_cluster(region))
        graph = outcome(stack, Path(folder))
    if graph is not None:
        assert_sound(graph, cluster_resources(cluster, region) if graph.planned else ())


def check_cluster_file(numbers: random.Random) -> None:
    stack, document = cluster_file(numbers)
    with TemporaryDirectory() as folder:
        write(Path(folder), stack, document)
        graph = outcome(stack, Path(folder))
    if graph is not None:
        assert_sound(graph)


@FEW
@given(RANDOM)
def test_a_few_random_serving_stacks_end_in_a_graph_or_one_line(numbers):
    check_serving_file(numbers)


@FEW
@given(RANDOM)
def test_a_few_random_cluster_stacks_end_in_a_graph_or_one_line(numbers):
    check_cluster_file(numbers)


def many(part: tuple[bool, int, int]) -> Counter[str]:
    """Check serving files, or those of clusters, of one seed; return what became of them."""
    serving, count, number = part
    OUTCOMES.clear()
    check = check_serving_file if serving else check_cluster_file
    seed(number)(settings(MANY, max_examples=count)(given(RANDOM)(check)))()
    return OUTCOMES


@pytest.mark.rehearsal
def test_a_thousand_random_stack_files_end_in_a_graph_or_one_line():
    parts = [*((True, 125, number) for number in range(6)), *((False, 125, number) for number in range(2))]
    with multiprocessing.Pool() as pool:
        found = sum(pool.map(many, parts, chunksize=1), Counter[str]())
    assert found["NoneType"] > 60
    assert found["BadInput"] > 100
    assert found["NoPlan"] + found["OverBudget"] > 20


def resource(kind: str, label: str, /, **props: object) -> RecordedResource:
    metadata = {"name": label, "namespace": "kube-system"}
    return RecordedResource(urn=label, type=kind, name=label, custom=True, props={"metadata": metadata, **props})


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([("kubernetes:core/v1:Service", "a"), ("kubernetes:core/v1:Service", "a")], "stands twice"),
        ([("kubernetes:core/v1:Service", "a" * 64)], "is no name"),
        ([("kubernetes:core/v1:Service", "a_b")], "is no name"),
        ([("kubernetes:core/v1:Service", "a", {"spec": {"selector": {"app": "x"}}})], "selects []"),
        (
            [("kubernetes:core/v1:Pod", "a", {"spec": {"serviceAccountName": "b"}})],
            "('ServiceAccount', 'kube-system', 'b')",
        ),
        (
            [("kubernetes:keda.sh/v1alpha1:ScaledObject", "a", {"spec": {"targetRef": {"kind": "X", "name": "b"}}})],
            "names ('X', 'kube-system', 'b'), which nothing makes",
        ),
        ([("aws:iam/role:Role", "r", {"name": "r" * 65})], "(65) is not at most 64"),
        ([("aws:s3/bucket:Bucket", "b", {"bucket": "a_b"})], "(3) is not at most 63"),
        ([("aws:sqs/queue:Queue", "q", {"name": "q"}), ("aws:sqs/queue:Queue", "p", {"name": "q"})], "is also q"),
        ([("aws:sqs/queue:Queue", "q", {"name": "q", "tags": {"t": "x" * 257}})], "has tag t="),
    ],
)
def test_a_graph_that_is_not_sound_is_found(given, found):
    made = [resource(kind, name, **(rest[0] if rest else {})) for kind, name, *rest in given]
    (line,) = problems(made)
    assert found in line
