"""The vector store: sized by the plan, keyed, encrypted, snapshotted, never two replicas on one machine."""

import json

from components.data.vector_store import documents
from components.data.vector_store.component import VectorStore, VectorStoreArgs
from components.serving.namespace.component import Namespace, NamespaceArgs
from tests.support.golden import assert_golden
from tests.support.plans import vector_store_plan

IMAGE = "docker.io/qdrant/qdrant@sha256:" + "b" * 64


def stateful_set(plan):
    return documents.stateful_set(
        "qdrant", plan, image=IMAGE, key_secret="key", service_account="qdrant", storage_class_name="qdrant-gp3"
    )


def container(plan):
    return stateful_set(plan)["template"]["spec"]["containers"][0]


def variables(plan):
    return {each["name"]: each for each in container(plan)["env"]}


def record(engine, **more):
    args = VectorStoreArgs(
        plan=more.pop("plan", vector_store_plan()),
        namespace="vectors",
        image=IMAGE,
        snapshot_image=IMAGE,
        snapshot_bucket="snapshots",
        region="us-east-1",
        **more,
    )
    return engine.run(lambda: VectorStore("qdrant", args))


def of_kind(recording, kind):
    return [each for each in recording.resources if each.type.endswith(f":{kind}") and "kubernetes:" in each.type]


def test_the_stateful_set_of_a_plan_is_the_committed_one():
    assert_golden("vector_store", stateful_set(vector_store_plan()))


def test_memory_cpu_and_disk_are_the_plans():
    plan = vector_store_plan(memory_gib=61.5, cpu=8.0, disk_gib=250)
    assert container(plan)["resources"] == {
        "requests": {"memory": "62976Mi", "ephemeral-storage": "2Gi", "cpu": "8"},
        "limits": {"memory": "62976Mi", "ephemeral-storage": "2Gi"},
    }
    (claim,) = stateful_set(plan)["volumeClaimTemplates"]
    assert claim["spec"]["resources"] == {"requests": {"storage": "250Gi"}}


def test_its_key_is_a_reference_and_never_a_value():
    assert variables(vector_store_plan())["QDRANT__SERVICE__API_KEY"] == {
        "name": "QDRANT__SERVICE__API_KEY",
        "valueFrom": {"secretKeyRef": {"name": "key", "key": "api-key"}},
    }


def test_several_replicas_are_a_cluster_with_two_copies_of_each_shard():
    plan = vector_store_plan()
    assert variables(plan)["QDRANT__CLUSTER__ENABLED"]["value"] == "true"
    assert variables(plan)["QDRANT__STORAGE__COLLECTION__REPLICATION_FACTOR"]["value"] == "2"
    assert variables(plan)["QDRANT__STORAGE__COLLECTION__SHARD_NUMBER"]["value"] == "12"
    assert '--bootstrap "http://qdrant-0.qdrant-peers:6335"' in container(plan)["command"][2]


def test_a_single_replica_is_no_cluster():
    plan = vector_store_plan(replicas=1)
    assert variables(plan)["QDRANT__CLUSTER__ENABLED"]["value"] == "false"
    assert container(plan)["command"] == ["./qdrant"]
    assert "affinity" not in stateful_set(plan)["template"]["spec"]


def test_two_replicas_are_never_on_one_machine():
    affinity = stateful_set(vector_store_plan())["template"]["spec"]["affinity"]["podAntiAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"


def test_the_disks_are_encrypted_and_survive_their_claims(engine):
    (storage,) = of_kind(record(engine), "StorageClass")
    assert storage.props["parameters"]["encrypted"] == "true"
    assert (storage.props["reclaimPolicy"], storage.props["volumeBindingMode"]) == ("Retain", "WaitForFirstConsumer")


def test_every_claim_is_made_to_ask_for_the_planned_disk_and_the_set_keeps_its_template(engine):
    recording = record(engine, plan=vector_store_plan(disk_gib=250))
    claims = of_kind(recording, "PersistentVolumeClaimPatch")
    assert [one.props["metadata"]["name"] for one in claims] == [f"storage-qdrant-{place}" for place in range(3)]
    assert all(one.props["spec"] == {"resources": {"requests": {"storage": "250Gi"}}} for one in claims)
    (nodes,), (storage,) = of_kind(recording, "StatefulSet"), of_kind(recording, "StorageClass")
    assert nodes.ignore_changes == ("spec.volumeClaimTemplates",)
    assert all(nodes.urn in one.dependencies for one in claims), "a claim is there once its pod is"
    assert storage.props["allowVolumeExpansion"] is True


def test_the_claims_name_the_class_that_is_created(engine):
    recording = record(engine)
    (storage,), (nodes,) = of_kind(recording, "StorageClass"), of_kind(recording, "StatefulSet")
    (claim,) = nodes.props["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == storage.props["metadata"]["name"]


def test_every_peer_is_snapshotted_into_the_bucket(engine):
    restore, job = of_kind(record(engine), "CronJob")
    assert job.props["spec"]["startingDeadlineSeconds"] == 3600
    (pod,) = job.props["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert pod["command"][-3:] == [f"http://qdrant-{place}.qdrant-peers.vectors.svc:6333" for place in range(3)]
    assert {"name": "TONNAGE_BUCKET", "value": "snapshots"} in pod["env"]
    (back,) = restore.props["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert back["command"] == [*pod["command"][:2], "runtime.restore", *pod["command"][3:]]
    assert restore.props["spec"]["suspend"] is True, "a restore is started by people only"


def test_without_named_clients_only_peers_snapshots_and_the_scraper_connect():
    policy = documents.network_policy(
        "qdrant", client_namespaces=(), monitoring_namespace="mon", snapshot_labels={"job": "snapshot"}
    )
    assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == [6335, 6333, 6333]
    assert all("ipBlock" not in json.dumps(rule) for rule in policy["egress"]), "the store has no way out"


def test_the_key_is_generated_in_the_cluster_once(engine):
    (key,) = of_kind(record(engine), "ExternalSecret")
    assert key.props["spec"]["refreshPolicy"] == "CreatedOnce"
    assert key.props["spec"]["target"]["name"] == "qdrant-api-key"
    (generator,) = of_kind(record(engine), "Password")
    assert generator.props["spec"]["length"] == 40


def test_a_namespace_starts_closed_and_bounded(engine):
    recording = engine.run(lambda: Namespace("serving", NamespaceArgs(namespace="serving", gpu_quota=12)))
    (namespace,) = of_kind(recording, "Namespace")
    assert namespace.props["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    (policy,) = of_kind(recording, "NetworkPolicy")
    assert policy.props["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (quota,) = of_kind(recording, "ResourceQuota")
    assert quota.props["spec"] == {"hard": {"requests.nvidia.com/gpu": "12"}}


def test_pods_of_the_own_namespace_may_connect_unless_others_are_named(engine):
    def clients(**more):
        found = record(engine, **more).resources
        (policy,) = [each for each in found if each.name == "qdrant-network"]
        return [
            peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            for rule in policy.props["spec"]["ingress"]
            if len(rule["ports"]) == 2
            for peer in rule["from"]
        ]

    assert clients() == ["vectors"]
    assert clients(client_namespaces=("rag",)) == ["rag"]


def test_replicas_start_together_after_all_have_stopped():
    assert stateful_set(vector_store_plan())["podManagementPolicy"] == "Parallel"


def test_the_budget_sees_the_volumes_by_their_tag(engine):
    (storage,) = [
        each for each in record(engine, tags={"tonnage:stack": "prod"}).resources if "StorageClass" in each.type
    ]
    assert storage.props["parameters"]["tagSpecification_1"] == "tonnage:stack=prod"
