"""What a stack renders whose two models share nodes: one set of pools, both models allowed on it, policies met."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.offline import OfflineGraph, run_offline
from infra.preview import build_preview
from policies.graph import Resource
from policies.registry import judge
from tests.support.golden import assert_golden

CLUSTER = """
config:
  aws:region: us-east-1
  tonnage:layer: cluster
  tonnage:zones: 4
  tonnage:cidr: 10.60.0.0/16
  tonnage:adminRoleArns: [arn:aws:iam::123456789012:role/platform-admin]
"""
SERVING = """
config:
  aws:region: us-east-1
  tonnage:layer: serving
  tonnage:models:
    - name: assistant
      model: meta-llama/Llama-3.3-70B-Instruct
      workload: {requestsPerSecond: 0.05, inputTokens: 400, outputTokens: 100, peakFactor: 3}
      engine: {tensorParallel: 4, pipelineParallel: 1}
      replicas: {floor: 3, ceiling: 4}
    - name: writer
      model: meta-llama/Llama-3.3-70B-Instruct
      workload: {requestsPerSecond: 0.05, inputTokens: 400, outputTokens: 100, peakFactor: 3}
      engine: {tensorParallel: 4, pipelineParallel: 1}
      replicas: {floor: 1, ceiling: 2}
  tonnage:capacity: {spotShare: 0.5, zones: 2, gpus: [A100-40GB]}
  tonnage:budget: {monthlyUsd: 60000, onExceed: freeze, notify: [ops@example.com]}
  tonnage:runtime:
    imageDigest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"
    toolsDigest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"
"""


@cache
def graph() -> OfflineGraph:
    with TemporaryDirectory() as folder:
        Path(folder, "Pulumi.team-cluster.yaml").write_text(CLUSTER)
        Path(folder, "Pulumi.team.yaml").write_text(SERVING)
        return run_offline("team", stacks_dir=Path(folder))


def specs(kind: str) -> dict[str, Any]:
    found = [one for one in graph().resources if one.type.endswith(f":{kind}")]
    return {one.props.get("metadata", {}).get("name") or one.name: one.props for one in found}


def test_two_models_on_shared_nodes_render_as_committed() -> None:
    groups = {name: {key: props[key] for key in ("instanceTypes", "labels", "scalingConfig", "taints")}
              for name, props in specs("NodeGroup").items()}  # fmt: skip
    pods = {name: props["spec"]["template"]["spec"] for name, props in specs("Deployment").items() if name in MODELS}
    placed = {name: {key: spec[key] for key in ("affinity", "tolerations", "topologySpreadConstraints")}
              for name, spec in pods.items()}  # fmt: skip
    pools = {name: props["spec"] for name, props in specs("NodePool").items()}
    assert_golden("shared_pools", {"node_groups": groups, "node_pools": pools, "pods": placed})


MODELS = ("assistant", "writer")


def test_the_policies_find_room_for_both_models_in_the_pools_they_share() -> None:
    verdicts = judge(Resource(type=r.type, name=r.name, urn=r.urn, props=r.props) for r in graph().resources)
    assert [verdict.to_document() for verdict in verdicts if not verdict.passed] == []


def test_a_preview_says_who_shares_and_what_that_saves() -> None:
    document = build_preview("team", graph(), [])
    (shared,) = document["shared"]
    assert (shared["models"], shared["pools"]) == (list(MODELS), document["models"][0]["pools"])
    assert shared["saving_usd_per_hour"] > 10
    assert shared["says"].startswith("assistant, writer share nodes of p4d.24xlarge: 21.96 USD/h expected less")
    assert "shared with writer" in document["models"][0]["why"]
    assert [model["shares_with"] for model in document["models"]] == [["writer"], ["assistant"]]
