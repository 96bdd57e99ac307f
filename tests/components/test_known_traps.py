"""What the rendered documents must not hold, because it failed for others (docs/field-reports.md)."""

import json

from components.cluster.eks.documents import addon_configuration
from components.cluster.karpenter_controller.documents import controller_values
from components.common.kubernetes import aws_egress
from components.serving.gateway import documents as gateway
from sizing.serving.gateway import gateway_plan
from tests.support.plans import serving_plan


def test_a_route_states_no_timeout_that_a_policy_would_override_in_silence():
    (route,) = gateway_plan((serving_plan(),), proxies=2).routes
    rules = gateway.http_route(route, gateway="gate", gateway_namespace="gateway")["rules"]
    assert [rule for rule in rules if "timeouts" in rule or "retry" in rule] == []


def test_pools_of_a_fixed_number_of_nodes_are_off():
    assert controller_values("tonnage-dev", "queue")["settings"]["featureGates"]["staticCapacity"] is False


def test_network_policies_are_enforced_in_the_standard_mode_that_drops_no_first_connection():
    cni = json.loads(addon_configuration("vpc-cni") or "{}")
    assert cni["enableNetworkPolicy"] == "true"
    assert "NETWORK_POLICY_ENFORCING_MODE" not in cni["env"]


def test_a_pod_that_may_reach_aws_may_reach_the_agent_that_signs_it_in():
    agent = {"to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}], "ports": [{"protocol": "TCP", "port": 80}]}
    assert agent in aws_egress(["10.0.0.0/8"])
