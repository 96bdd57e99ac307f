"""What one served model becomes in Kubernetes; the plan decides, these tests say what must follow from it."""

import json
import re
from dataclasses import replace

import pytest

from components.capacity.karpenter_pools.documents import requirements
from components.serving.model_service import documents
from components.serving.model_service.component import ModelService, ModelServiceArgs
from components.serving.model_service.pod import launch_config, node_affinity, pod_template
from sizing.errors import BadInput
from tests.support.golden import assert_golden
from tests.support.plans import large_serving_plan, pools_for, serving_plan

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/engine@sha256:" + "a" * 64


def template(plan, pools=None):
    return pod_template(
        plan,
        pools_for(plan) if pools is None else pools,
        image=IMAGE,
        bucket="weights",
        region="us-east-1",
        service_account=plan.name,
    )


def engine_container(plan):
    return template(plan)["spec"]["containers"][0]


def record(engine, plan, **more):
    args = {"namespace": "serving", "image": IMAGE, "bucket": "weights", "region": "us-east-1", **more}
    return engine.run(lambda: ModelService("chat", ModelServiceArgs(plan=plan, pools=pools_for(plan), **args)))


def one(recording, kind):
    found = [each for each in recording.resources if each.type.endswith(f":{kind}")]
    assert len(found) == 1, f"{kind}: {len(found)}"
    return found[0]


@pytest.mark.parametrize(("name", "plan"), [("tp1", serving_plan()), ("tp4", large_serving_plan())])
def test_the_pod_of_a_plan_is_the_committed_one(name, plan):
    assert_golden(f"serving_pod_{name}", template(plan))


def test_gpus_memory_and_disk_are_requested_and_limited_alike():
    resources = engine_container(large_serving_plan())["resources"]
    limits = {"nvidia.com/gpu": "4", "memory": "344Gi", "ephemeral-storage": "40Gi"}
    assert resources == {"requests": {**limits, "cpu": "44"}, "limits": limits}


def test_shared_memory_is_a_bounded_memory_volume():
    volumes = {each["name"]: each for each in template(large_serving_plan())["spec"]["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}


def test_the_start_up_budget_is_the_plans():
    probe = engine_container(large_serving_plan())["startupProbe"]
    assert (probe["httpGet"]["path"], probe["periodSeconds"], probe["failureThreshold"]) == ("/health", 10, 47)


def test_readiness_asks_with_the_engines_key():
    probe = engine_container(serving_plan())["readinessProbe"]
    assert probe["exec"]["command"] == ["python3", "-m", "runtime.ready", "--path", "/v1/models"]


def test_the_engines_key_is_a_reference_and_never_a_value():
    variables = {each["name"]: each for each in engine_container(serving_plan())["env"]}
    assert variables["VLLM_API_KEY"] == {
        "name": "VLLM_API_KEY",
        "valueFrom": {"secretKeyRef": {"name": "chat-engine-key", "key": "api-key"}},
    }


def test_a_drain_ends_before_the_grace_period_does():
    plan = serving_plan()
    assert template(plan)["spec"]["terminationGracePeriodSeconds"] == 90
    assert plan.drain.pre_stop_s + plan.drain.shutdown_timeout_s < 90


def test_only_listed_folders_can_be_written():
    container = engine_container(serving_plan())
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    writable = [each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")]
    assert writable == ["/dev/shm", "/var/lib/tonnage", "/tmp"]


def test_pools_are_preferred_in_the_order_of_the_plan_and_no_other_is_allowed():
    named = zip(("b-floor", "a-spot", "c-burst"), (("use1-az4",), ("use1-az2", "use1-az4"), ("use1-az2",)), strict=True)
    pools = [replace(pools_for(serving_plan())[0], name=name, zones=zones) for name, zones in named]
    affinity = node_affinity(pools, (100, 67, 34))
    (required,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert required["matchExpressions"] == [
        {"key": "tonnage.dev/pool", "operator": "In", "values": ["a-spot", "b-floor", "c-burst"]},
        {"key": "topology.k8s.aws/zone-id", "operator": "In", "values": ["use1-az2", "use1-az4"]},
    ]
    preferred = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    names = [each["preference"]["matchExpressions"][0]["values"] for each in preferred]
    assert [each["weight"] for each in preferred] == [100, 67, 34]
    assert names == [["b-floor"], ["a-spot"], ["c-burst"]]


def test_replicas_spread_over_the_label_by_which_pools_buy() -> None:
    plan = serving_plan()
    (spread,) = template(plan)["spec"]["topologySpreadConstraints"]
    bought_by = {each["key"] for each in requirements(pools_for(plan)[1])}
    assert spread["topologyKey"] == "topology.k8s.aws/zone-id"
    assert spread["topologyKey"] in bought_by


def test_the_taint_of_its_pools_is_tolerated_once():
    assert template(serving_plan())["spec"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"}
    ]


@pytest.mark.parametrize(("ceiling", "want"), [(3, "ScheduleAnyway"), (2, "DoNotSchedule")])
def test_two_replicas_that_always_run_alone_do_not_share_a_zone(ceiling, want):
    plan = serving_plan(replicas={"floor": 2, "ceiling": ceiling})
    assert template(plan)["spec"]["topologySpreadConstraints"][0]["whenUnsatisfiable"] == want


def test_on_shared_nodes_the_spread_over_zones_is_a_wish():
    plan = serving_plan(replicas={"floor": 2}, shares_with=("other",))
    assert template(plan)["spec"]["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "ScheduleAnyway"


def test_a_change_of_a_flag_changes_the_name_of_the_config_map_so_that_pods_roll():
    before, after = serving_plan(), serving_plan(engine_args=("--max-model-len", "4096"))
    assert launch_config(before)[0] != launch_config(after)[0]
    assert launch_config(before) == launch_config(serving_plan())
    assert re.fullmatch(r"chat-launch-[0-9a-f]{10}", launch_config(before)[0])


def test_a_rollout_takes_one_away_only_when_the_pools_have_no_room_for_one_more():
    def rolling(plan):
        spec = documents.deployment(
            plan, pools_for(plan), image=IMAGE, bucket="b", region="us-east-1", service_account="s"
        )
        return spec["strategy"]["rollingUpdate"]

    assert rolling(serving_plan(surge=0)) == {"maxSurge": 0, "maxUnavailable": 1}
    for ceiling in range(1, 51):
        plan = serving_plan(surge=1, replicas=replace(serving_plan().replicas, ceiling=ceiling))
        percent = int(rolling(plan)["maxUnavailable"].removesuffix("%"))
        assert (ceiling * percent // 100, ceiling // 2 * percent // 100) == (1, 0), ceiling


def test_a_node_with_several_replicas_can_be_drained():
    budget = documents.disruption_budget(serving_plan(replicas_per_instance=4))
    assert budget["maxUnavailable"] == 4


def test_latency_and_level_are_not_divided_by_replicas_and_the_queue_is():
    triggers = documents.scaled_object(serving_plan(), "serving", "http://prometheus:9090")["triggers"]
    kinds = {each["name"]: (each["metricType"], each["metadata"]["threshold"]) for each in triggers}
    assert kinds == {
        "traffic": ("AverageValue", "1.5"), "waiting": ("AverageValue", "16"), "kv-cache": ("Value", "0.85"),
        "ttft": ("Value", "1.5"),
    }  # fmt: skip


def test_each_direction_of_the_autoscaler_has_its_window_and_up_the_tolerance_of_the_plan():
    plan = serving_plan(scaling={"scale_up_tolerance": 0.17})
    scaled = documents.scaled_object(plan, "serving", "http://prometheus:9090")
    behaviour = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behaviour["scaleUp"]["tolerance"] == "0.17"
    assert "tolerance" not in behaviour["scaleDown"]
    assert [behaviour[way]["stabilizationWindowSeconds"] for way in ("scaleUp", "scaleDown")] == [30, 600]


def test_ttft_is_looked_at_over_the_window_that_counts_arrivals_at_the_quantile_of_the_plan():
    query = documents.scaling_queries(serving_plan(scaling={"rate_window_s": 240}), "serving")["ttft"]
    assert query.startswith("(histogram_quantile(0.92, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket{")
    assert query.endswith("}[240s]))) > 0) or vector(0)")


def test_replicas_that_stand_by_keep_no_model_awake():
    plan = serving_plan(scale_to_zero=True, replicas={"floor": 0}, scaling={"spare_requests_per_s": 1 / 3})
    scaled = documents.scaled_object(plan, "serving", "http://prometheus:9090")
    traffic = next(each for each in scaled["triggers"] if each["name"] == "traffic")["metadata"]
    assert traffic["query"].endswith(f" + {traffic['activationThreshold']}")


def test_a_dead_target_is_an_error_and_not_a_zero():
    triggers = documents.scaled_object(serving_plan(), "serving", "http://prometheus:9090")["triggers"]
    assert {each["metadata"]["ignoreNullValues"] for each in triggers} == {"false"}
    waiting = next(each for each in triggers if each["name"] == "waiting")
    assert waiting["metadata"]["query"] == 'sum(vllm:num_requests_waiting{namespace="serving",model_name="chat"})'


def test_arrivals_are_counted_with_those_of_the_replicas_that_stand_by():
    spare = {"spare_requests_per_s": 2.5, "rate_window_s": 240}
    query = documents.scaling_queries(serving_plan(scaling=spare), "serving")["traffic"]
    cluster = '{envoy_cluster_name=~"httproute/serving/chat/rule/.*"}[240s]'
    assert query == (
        f"(sum(rate(envoy_cluster_upstream_rq_total{cluster}))) + "
        f"(sum(rate(envoy_cluster_upstream_cx_connect_fail{cluster})) or vector(0)) + 2.5"
    )


def test_where_a_zone_may_be_lost_none_holds_more_than_a_node_above_the_others():
    plan = serving_plan(loss_tolerance="zone", replicas_per_instance=2, replicas={"floor": 0})
    (spread,) = template(plan)["spec"]["topologySpreadConstraints"]
    assert (spread["maxSkew"], spread["whenUnsatisfiable"]) == (2, "DoNotSchedule")


def test_the_autoscaler_is_bounded_by_the_replicas_of_the_bill():
    scaled = documents.scaled_object(serving_plan(), "serving", "http://prometheus:9090")
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (1, 4)
    assert scaled["fallback"] == {"failureThreshold": 3, "replicas": 2, "behavior": "currentReplicasIfHigher"}


def test_a_model_at_zero_is_woken_by_traffic_at_the_gateway_and_not_put_to_sleep_while_it_loads():
    plan = serving_plan(scale_to_zero=True, replicas={"floor": 0})
    scaled = documents.scaled_object(plan, "serving", "http://prometheus:9090")
    traffic = next(each for each in scaled["triggers"] if each["name"] == "traffic")
    assert 'envoy_cluster_name=~"httproute/serving/chat/rule/.*"' in traffic["metadata"]["query"]
    assert traffic["metadata"]["activationThreshold"] == "0"
    assert scaled["minReplicaCount"] == 0
    assert scaled["initialCooldownPeriod"] == plan.rollout.cold_start_s == 210 + 300


def test_only_the_gateway_and_the_scraper_reach_the_engine():
    policy = documents.network_policy(
        serving_plan(), gateway_namespace="gw", monitoring_namespace="mon", https_cidrs=("10.0.0.0/8",)
    )
    sources = [each["from"][0]["namespaceSelector"]["matchLabels"] for each in policy["ingress"]]
    assert sources == [{"kubernetes.io/metadata.name": "gw"}, {"kubernetes.io/metadata.name": "mon"}]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 443, 80}


def test_a_replica_over_several_machines_is_refused_by_name():
    with pytest.raises(BadInput, match="model chat: a replica spans 2 instances; limit: 1"):
        documents.check_supported(serving_plan(instances_per_replica=2))


def test_a_pool_that_is_not_in_the_stack_is_refused_by_name():
    plan = serving_plan()
    with pytest.raises(BadInput, match="chat-burst are not among chat-floor, chat-spot"):
        template(plan, pools_for(plan)[:2])


def test_a_served_model_is_ten_objects_under_one_component(engine):
    recording = record(engine, serving_plan())
    kinds = sorted(each.type.rpartition(":")[2] for each in recording.resources if "kubernetes:" in each.type)
    assert kinds == [
        "ConfigMap", "Deployment", "ExternalSecret", "NetworkPolicy", "Password", "PodDisruptionBudget", "PodMonitor",
        "ScaledObject", "Service", "ServiceAccount",
    ]  # fmt: skip
    component = one(recording, "ModelService")
    assert {each.parent for each in recording.resources if "kubernetes:" in each.type} == {component.urn}


def test_the_deployment_starts_at_the_floor_and_leaves_the_count_to_the_autoscaler(engine):
    deployment = one(record(engine, serving_plan()), "Deployment")
    assert deployment.props["spec"]["replicas"] == 1
    assert deployment.ignore_changes == ("spec.replicas",)
    assert deployment.custom_timeouts["create"] == "1110s"


def test_the_config_map_is_immutable_and_holds_what_the_launcher_reads(engine):
    config = one(record(engine, serving_plan()), "ConfigMap")
    assert config.props["immutable"] is True
    assert json.loads(config.props["data"]["launch.json"])["weights"]["prefix"].startswith("models/meta-llama/")


def test_the_pod_mounts_the_config_map_that_is_created(engine):
    recording = record(engine, serving_plan())
    volumes = one(recording, "Deployment").props["spec"]["template"]["spec"]["volumes"]
    name = next(each["configMap"]["name"] for each in volumes if each["name"] == "launch")
    assert name == one(recording, "ConfigMap").props["metadata"]["name"]


def test_a_preview_registers_what_an_update_does(engine):
    plan, names = serving_plan(), []
    for preview in (False, True):
        args = ModelServiceArgs(
            plan=plan, pools=pools_for(plan), namespace="serving", image=IMAGE, bucket="weights", region="us-east-1"
        )
        recording = engine.run(lambda given=args: ModelService("chat", given), preview=preview)
        names.append([each.urn for each in recording.resources])
    assert names[0] == names[1]


def test_the_outputs_name_the_service_the_account_and_the_key(engine):
    recording = record(engine, serving_plan(), service_account="vllm")
    outputs = recording.component_outputs[one(recording, "ModelService").urn]
    assert outputs == {"serviceName": "chat", "serviceAccount": "vllm", "keySecret": "chat-engine-key"}


def test_equal_plans_give_equal_documents():
    assert template(serving_plan()) == template(replace(serving_plan()))
