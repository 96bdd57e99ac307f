"""The way in: nobody without a key, nothing in the clear, no stream cut between two tokens."""

import re

import pytest

from components.serving.gateway import documents
from components.serving.gateway.component import Gateway, GatewayArgs
from sizing.catalogue.files import serving_facts
from sizing.errors import BadInput
from sizing.serving.gateway import gateway_plan
from tests.support.plans import serving_plan

ASKED = (
    "/chat/v1/chat/completions", "/chat/v1/models", "/chat/tokenize", "/chat/detokenize", "/chat/v1/load_lora_adapter",
    "/chat/metrics", "/chat/sleep", "/chat/v1/modelsx", "/chat/v1/models/../load_lora_adapter", "/chatty/v1/models",
    "/other/v1/models", "/v1/models", "/chat/tokenizer_info",
)  # fmt: skip
PLAN = gateway_plan((serving_plan(), serving_plan(name="sleepy", scale_to_zero=True)), proxies=2)
CHAT, SLEEPY = PLAN.routes
ALONE = gateway_plan((serving_plan(),), proxies=2)


def record(engine, **more):
    args = GatewayArgs(namespace="gateway", serving_namespace="serving", **{"plan": PLAN, **more})
    return engine.run(lambda: Gateway("gate", args))


def of_kind(recording, kind):
    return [each for each in recording.resources if each.type.endswith(f":{kind}")]


def seconds(duration):
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(count) * units[unit] for count, unit in re.findall(r"(\d+)([hms])", duration))


def proxy(**more):
    return documents.envoy_proxy(ALONE, **{"scheme": "internal", **more})


def limits(route):
    return documents.backend_policy(route, PLAN)


def annotations(**more):
    service = proxy(**more)["provider"]["kubernetes"]["envoyService"]
    return {key.rpartition("aws-load-balancer-")[2]: value for key, value in service["annotations"].items()}


def test_a_route_serves_the_models_api_under_its_own_name():
    rule = documents.http_route(CHAT, gateway="gate", gateway_namespace="gateway")["rules"][0]
    (match,) = rule["matches"]
    assert match["path"]["type"] == "RegularExpression"
    served = [path for path in ASKED if re.fullmatch(match["path"]["value"], path)]
    assert served == ["/chat/v1/chat/completions", "/chat/v1/models", "/chat/tokenize", "/chat/detokenize"]
    assert rule["backendRefs"] == [{"group": "", "kind": "Service", "name": "chat", "port": 8000, "weight": 1}]


def test_the_engine_sees_the_path_without_the_models_name():
    strip = documents.route_filter(CHAT)["urlRewrite"]["path"]["replaceRegexMatch"]
    assert re.sub(strip["pattern"], strip["substitution"], "/chat/v1/models") == "/v1/models"


def test_no_route_exists_without_the_policy_that_asks_for_a_key(engine):
    for route in of_kind(record(engine), "HTTPRoute"):
        assert "gate-auth" in {urn.rsplit("::", 1)[-1] for urn in route.dependencies}


def test_retries_outlast_the_wake_up_although_each_waits_half_its_interval():
    retry = limits(SLEEPY)["retry"]
    assert retry["numRetries"] * seconds(retry["perRetry"]["backOff"]["baseInterval"]) / 2 >= 1.4 * SLEEPY.wake_s


def test_a_long_prompt_can_be_sent_again_until_its_model_has_woken():
    assert documents.client_policy("gate", PLAN)["connection"] == {"bufferLimit": "4Mi"}


def test_two_proxies_leave_the_smallest_system_nodes_to_the_operators():
    requests = documents.PROXY_RESOURCES["requests"]
    assert (requests["cpu"], requests["memory"]) == ("250m", "512Mi")


def test_every_caller_needs_a_key_and_the_engine_does_not_see_it():
    policy = documents.security_policy("gate", "keys")
    assert policy["targetRefs"][0]["kind"] == "Gateway"
    assert policy["apiKeyAuth"]["credentialRefs"] == [{"group": "", "kind": "Secret", "name": "keys"}]
    assert policy["apiKeyAuth"]["sanitize"] is True


def test_the_engines_key_is_added_by_reference():
    credential = documents.route_filter(CHAT)["credentialInjection"]
    assert credential["overwrite"] is True
    assert credential["credential"]["valueRef"]["name"] == "chat-engine-key"


def test_a_request_may_last_as_long_as_the_longest_answer_whatever_its_replica_drains():
    slow = {"longest_answer": {"total_s": 900}}
    for drained in (80, 800):
        plan = gateway_plan((serving_plan(**slow, drain={"shutdown_timeout_s": drained}),), proxies=2)
        assert seconds(limits(plan.routes[0])["timeout"]["http"]["requestTimeout"]) == 2 * 900


@pytest.mark.parametrize("policy", [documents.client_policy("gate", PLAN), documents.backend_policy(CHAT, PLAN)])
def test_keep_alive_packets_break_a_silence_before_a_load_balancer_forgets_the_connection(policy):
    probes = policy["tcpKeepalive"]
    assert (probes["idleTime"], probes["interval"], probes["probes"]) == ("1m", "1m", 3)
    assert seconds(probes["idleTime"]) < serving_facts("gateway")["tls_idle_s"]


def test_the_gateway_closes_an_idle_connection_to_an_engine_before_the_engine_does():
    idle = seconds(limits(CHAT)["timeout"]["http"]["connectionIdleTimeout"])
    assert (idle, serving_plan().http_keep_alive_s) == (60, 120)


def test_idle_limits_lie_above_the_longest_answer_of_any_model():
    policy = documents.client_policy("gate", PLAN)
    longest = SLEEPY.request_timeout_s + SLEEPY.wake_s
    idle = [policy["timeout"]["tcp"]["idleTimeout"], policy["timeout"]["http"]["streamIdleTimeout"]]
    assert [seconds(each) > longest for each in idle] == [True, True]


def test_twice_what_the_ceiling_sustains_is_shared_by_the_proxies():
    rule = limits(CHAT)["rateLimit"]["local"]["rules"][0]
    assert rule["limit"] == {"requests": 4 * 1.5 * 60, "unit": "Minute"}


def test_parallel_requests_are_those_that_every_replica_runs_or_queues():
    breaker = limits(CHAT)["circuitBreaker"]
    assert breaker["maxParallelRequests"] == 4 * (64 + 16)


def test_only_what_never_reached_an_engine_is_tried_again():
    assert limits(CHAT)["retry"]["retryOn"]["triggers"] == [
        "connect-failure",
        "refused-stream",
    ]


def test_the_first_caller_of_a_sleeping_model_waits_until_it_has_woken():
    policy = limits(SLEEPY)
    assert policy["routingType"] == "Service"
    assert seconds(policy["timeout"]["http"]["requestTimeout"]) == SLEEPY.request_timeout_s + 510
    assert policy["retry"]["numRetries"] * seconds(policy["retry"]["perRetry"]["backOff"]["baseInterval"]) >= 510


def test_the_load_balancer_is_internal_unless_said_otherwise():
    assert annotations()["scheme"] == "internal"
    assert (annotations()["type"], annotations()["nlb-target-type"]) == ("external", "ip")


def test_tls_ends_at_the_load_balancer_when_there_is_a_certificate():
    found = annotations(certificate_arn="arn:aws:acm:us-east-1:123456789012:certificate/x")
    assert (found["ssl-ports"], found["ssl-cert"][:12]) == ("443", "arn:aws:acm:")
    assert "TLS13" in found["ssl-negotiation-policy"]


def test_without_tls_the_load_balancers_idle_limit_is_raised():
    assert annotations()["listener-attributes.TCP-80"] == "tcp.idle_timeout.seconds=216"


def test_a_public_load_balancer_without_a_certificate_is_refused():
    with pytest.raises(BadInput, match=r"in the clear; hint: set gateway\.certificateArn"):
        documents.check_exposure("internet-facing", has_certificate=False)


def test_callers_can_be_limited_to_networks():
    service = proxy(allowed_cidrs=("10.2.0.0/16", "10.1.0.0/16"))["provider"]["kubernetes"]["envoyService"]
    assert service["loadBalancerSourceRanges"] == ["10.1.0.0/16", "10.2.0.0/16"]


def test_a_leaving_proxy_finishes_the_longest_answer_within_what_an_update_of_nodes_waits():
    shutdown = proxy()["shutdown"]
    assert seconds(shutdown["drainTimeout"]) == CHAT.request_timeout_s == 2 * 78
    slow = gateway_plan((serving_plan(longest_answer={"total_s": 9000}),), proxies=2)
    assert slow.drain_s == 840
    assert seconds(shutdown["minDrainDuration"]) >= ALONE.deregistration_s


@pytest.mark.parametrize(("given", "want"), [(0, "0s"), (60, "1m"), (90, "1m30s"), (3600, "1h"), (3725, "1h2m5s")])
def test_durations_are_written_as_the_gateway_api_wants_them(given, want):
    assert documents.duration(given) == want


def test_each_model_has_a_route_its_key_and_its_limits_beside_the_model(engine):
    recording = record(engine)
    for kind in ("HTTPRoute", "HTTPRouteFilter", "BackendTrafficPolicy"):
        metadata = [each.props["metadata"] for each in of_kind(recording, kind)]
        assert [(each["name"], each["namespace"]) for each in metadata] == [("chat", "serving"), ("sleepy", "serving")]


def test_the_listener_takes_routes_of_the_serving_namespace_only(engine):
    gateway = next(each for each in of_kind(record(engine), "Gateway") if "kubernetes" in each.type)
    (listener,) = gateway.props["spec"]["listeners"]
    assert (listener["protocol"], listener["port"]) == ("HTTP", 80)
    labels = listener["allowedRoutes"]["namespaces"]["selector"]["matchLabels"]
    assert labels == {"kubernetes.io/metadata.name": "serving"}


def test_the_class_is_of_the_cluster_and_not_of_a_namespace(engine):
    (found,) = of_kind(record(engine), "GatewayClass")
    assert "namespace" not in found.props["metadata"]


def test_callers_keys_are_copied_from_the_secret_store_when_named(engine):
    (keys,) = of_kind(record(engine, api_keys_remote_key="tonnage/keys"), "ExternalSecret")
    assert keys.props["spec"]["dataFrom"] == [{"extract": {"key": "tonnage/keys"}}]
    assert of_kind(record(engine), "ExternalSecret") == []


def test_the_output_says_where_each_model_is(engine):
    recording = record(engine)
    component = next(each for each in recording.resources if each.type == "tonnage:index:Gateway")
    assert recording.component_outputs[component.urn]["paths"] == {"chat": "/chat/v1", "sleepy": "/sleepy/v1"}
