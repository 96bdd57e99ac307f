"""The document of ``tonnage catalogue show``: what is known, with source and date."""

from __future__ import annotations

from sizing.catalogue.catalogue import Catalogue
from sizing.catalogue.hardware import Gpu, Instance

CATALOGUE_SCHEMA = 1
"""Version of the document; a key is never renamed or removed within one."""


def catalogue_document(catalogue: Catalogue, region: str) -> dict[str, object]:
    """Return GPUs, the instance types that ``region`` sells, and models. Raises BadInput for an unknown region."""
    place = catalogue.region(region)
    sold = [instance for gpu in catalogue.gpus for instance in catalogue.instances(gpu.name, region)]
    return {
        "schema": CATALOGUE_SCHEMA,
        "date": catalogue.date,
        "region": place.name,
        "regions": [known.name for known in catalogue.regions],
        "sources": {key: catalogue.sources[key] for key in sorted(catalogue.sources)},
        "gpus": [_gpu(gpu) for gpu in catalogue.gpus],
        "instances": [_instance(instance, region) for instance in sold],
        "models": [_model(catalogue, name) for name in catalogue.models],
    }


def _gpu(gpu: Gpu) -> dict[str, object]:
    return {
        "name": gpu.name,
        "aliases": list(gpu.aliases),
        "architecture": gpu.architecture,
        "total_gib": gpu.total_gib,
        "bandwidth_gb_s": gpu.bandwidth_gb_s,
        "rented_by_aws": bool(gpu.karpenter_name),
    }


def _instance(instance: Instance, region: str) -> dict[str, object]:
    return {
        "instance_type": instance.instance_type,
        "gpu": instance.gpu,
        "gpus": instance.gpus,
        "vcpu": instance.vcpu,
        "memory_gib": instance.memory_gib,
        "on_demand_usd_per_hour": instance.on_demand_usd_per_hour[region],
        "spot_usd_per_hour": instance.spot_price(region),
        "zone_ids": list(instance.zone_ids.get(region, ())),
    }


def _model(catalogue: Catalogue, name: str) -> dict[str, object]:
    document = catalogue.model_document(name)
    spec = catalogue.model(name)
    return {
        "name": name,
        "revision": document["revision"],
        "source": document["source"],
        "architecture": spec.architecture,
        "parameters": spec.parameters,
        "quantisation": spec.quantisation.method,
        "max_model_len": spec.max_position_embeddings,
    }
