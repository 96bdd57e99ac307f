"""The real API server, with the pinned definitions, takes every object of the Kubernetes components unchanged."""

from collections.abc import Mapping

import pytest

from components.data.vector_store.component import VectorStore, VectorStoreArgs
from components.serving.gateway.component import Gateway, GatewayArgs
from components.serving.model_service.component import ModelService, ModelServiceArgs
from components.serving.namespace.component import Namespace, NamespaceArgs
from rehearsal.control_plane.crds import install_crds
from rehearsal.control_plane.objects import ObjectClient
from rehearsal.control_plane.processes import ControlPlane
from rehearsal.process import Supervisor
from rehearsal.tools import ensure_tools
from sizing.serving.gateway import gateway_plan
from tests.support.plans import large_serving_plan, pools_for, serving_plan, vector_store_plan

pytestmark = pytest.mark.rehearsal
IMAGE = "example.org/engine@sha256:" + "a" * 64
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/x"
PLANS = (serving_plan(), serving_plan(name="sleepy", scale_to_zero=True, replicas={"floor": 0}), large_serving_plan())


def build():
    for namespace in ("gateway", "serving", "vectors"):
        Namespace(namespace, NamespaceArgs(namespace=namespace, gpu_quota=8))
    for plan in PLANS:
        args = ModelServiceArgs(
            plan=plan, pools=pools_for(plan), namespace="serving", image=IMAGE, bucket="b", region="us-east-1"
        )
        ModelService(plan.name, args)
    plan = gateway_plan(PLANS, proxies=2)
    public = {"scheme": "internet-facing", "certificate_arn": CERTIFICATE, "allowed_cidrs": ("10.0.0.0/8",)}
    for name, more in (("inner", {}), ("outer", {**public, "api_keys_remote_key": "keys"})):
        Gateway(name, GatewayArgs(namespace="gateway", serving_namespace="serving", plan=plan, **more))
    store = {"image": IMAGE, "snapshot_image": IMAGE, "snapshot_bucket": "b", "region": "us-east-1"}
    VectorStore("qdrant", VectorStoreArgs(plan=vector_store_plan(), namespace="vectors", **store))


def whole(value):
    """Undo the floats that the engine's protocol makes of integers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: whole(each) for key, each in value.items()}
    return [whole(each) for each in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def objects():
    toolbox = ensure_tools(print)
    with Supervisor() as supervisor, ControlPlane(toolbox, supervisor) as running:
        api = running.api()
        install_crds(api, toolbox)
        yield ObjectClient(api)


def test_every_object_is_accepted_with_every_field(objects, engine):
    # A patch is of an object that another one makes, here of a claim of the set: a rehearsal grows it.
    made = [each for each in engine.run(build).resources if each.type.startswith("kubernetes:")]
    found = [each for each in made if not each.type.endswith("Patch")]
    found.sort(key=lambda each: each.props["kind"] != "Namespace")
    refused = []
    for each in found:
        document = whole(each.props)
        meta = document["metadata"]
        path = objects.endpoint(document["apiVersion"], document["kind"]).path(meta.get("namespace", ""), meta["name"])
        query = {"fieldManager": "test", "fieldValidation": "Strict", "force": "true"}
        try:
            objects.request("PATCH", path, query=query, body=document, content_type="application/apply-patch+yaml")
        except Exception as error:
            refused.append(f"{document['kind']} {meta['name']}: {getattr(error, 'body', error)}")
    assert refused == []
    assert len(found) > 50
