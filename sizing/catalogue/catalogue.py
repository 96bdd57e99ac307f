"""The catalogue read from its JSON files: GPUs, instances, prices, engine defaults, calibrated constants, models."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sizing.catalogue.hardware import Gpu, Instance, Region
from sizing.errors import BadInput
from sizing.models.families.embedding import served_as_embedding
from sizing.models.from_config import model_from_config
from sizing.models.spec import ModelSpec

HERE = Path(__file__).resolve().parent
MOST_LISTED = 12
"""Names that a message lists."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Catalogue:
    """GPUs, machines, prices, regions and models, read once; ``date`` is that of the instance snapshot.

    A catalogue is equal to itself alone, so answers that were found with it can be kept by it.
    """

    date: str
    gpus: tuple[Gpu, ...]
    all_instances: tuple[Instance, ...]
    regions: tuple[Region, ...]
    prices: Mapping[str, Mapping[str, float]]
    quotas: Mapping[str, str]
    sources: Mapping[str, str]
    folder: Path = field(default=HERE, repr=False)
    added_models: Mapping[str, ModelSpec] = field(default_factory=dict, repr=False)
    """Models that are not in the snapshot, by name: see ``with_model``."""

    def with_model(self, model: ModelSpec) -> Catalogue:
        """Return the same catalogue with one more model, found by its own name."""
        return replace(self, added_models={**self.added_models, model.name: model})

    def gpu(self, name: str) -> Gpu:
        """Return the GPU called ``name`` (any case, common aliases); BadInput names the nearest ones."""
        found = self._gpu_names.get(_normal(name))
        if found is None:
            raise BadInput("gpu", f"{name!r} is unknown", way_out=_nearest(name, [gpu.name for gpu in self.gpus]))
        return found

    @cached_property
    def _gpu_names(self) -> Mapping[str, Gpu]:
        return {_normal(alias): gpu for gpu in self.gpus for alias in (gpu.name, *gpu.aliases)}

    def region(self, name: str) -> Region:
        """Return the region; BadInput when the snapshot has no prices for it."""
        for region in self.regions:
            if region.name == name:
                return region
        way_out = _nearest(name, [region.name for region in self.regions])
        raise BadInput("region", f"{name!r} has no prices in the catalogue of {self.date}", way_out=way_out)

    def instances(self, gpu: str, region: str) -> tuple[Instance, ...]:
        """Return the instance types with ``gpu`` that ``region`` sells on demand, cheapest first, then by name."""
        wanted, place = self.gpu(gpu).name, self.region(region).name
        sold = [i for i in self.all_instances if i.gpu == wanted and place in i.on_demand_usd_per_hour]
        return tuple(sorted(sold, key=lambda i: (i.on_demand_usd_per_hour[place], i.instance_type)))

    def unpriced(self, gpu: str, region: str) -> tuple[str, ...]:
        """Return the instance types with ``gpu`` that zones of ``region`` offer and the catalogue has no price of."""
        wanted, place = self.gpu(gpu).name, self.region(region).name
        offered = [i for i in self.all_instances if i.gpu == wanted and i.zone_ids.get(place)]
        return tuple(sorted(i.instance_type for i in offered if place not in i.on_demand_usd_per_hour))

    def instance(self, instance_type: str) -> Instance:
        """Return one instance type, GPU or system; BadInput names the nearest ones."""
        for instance in self.all_instances:
            if instance.instance_type == instance_type:
                return instance
        names = [instance.instance_type for instance in self.all_instances]
        raise BadInput("instance type", f"{instance_type!r} is unknown", way_out=_nearest(instance_type, names))

    def price(self, name: str, region: str) -> float:
        """Return a fixed price, for example ``nat_gateway_usd_per_hour``, in ``region``."""
        if name not in self.prices:
            raise BadInput("price", f"{name!r} is unknown", way_out=_nearest(name, list(self.prices)))
        return self.prices[name][self.region(region).name]

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Return the names of the models in the catalogue, sorted."""
        return tuple(sorted(self._model_files))

    @cached_property
    def _model_files(self) -> Mapping[str, Path]:
        return {path.stem.replace("--", "/"): path for path in sorted((self.folder / "models").glob("*.json"))}

    def model_document(self, name: str) -> Mapping[str, Any]:
        """Return the committed file of a model: ``source``, ``revision``, ``config`` and, if known, bytes."""
        path = self._model_files.get(self._model_name(name))
        if path is None:
            raise BadInput("model", f"{name!r} is not in the catalogue", way_out=_nearest(name, list(self.models)))
        return _read(path)

    def model(self, name: str) -> ModelSpec:
        """Return a model by catalogue name (any case, aliases, or the part after the slash when unique)."""
        if name in self.added_models:
            return self.added_models[name]
        found = self._model_name(name) or name
        return _model(self.folder, found, self)

    def has_safetensors(self, name: str, revision: str) -> bool:
        """Return False where this revision of a model is known to hold no weights in that format."""
        if name in self.added_models:
            return True
        return revision not in self.model_document(name).get("revisions_without_safetensors", ())

    def _model_name(self, name: str) -> str:
        wanted = name.strip().lower()
        exact = [known for known in self.models if known.lower() == wanted]
        if exact:
            return exact[0]
        plain = wanted.replace("/meta-llama-", "/llama-").removeprefix("meta-llama-")
        short = [known for known in self.models if plain in {known.lower(), known.split("/")[-1].lower()}]
        return short[0] if len(set(short)) == 1 else ""


@lru_cache(maxsize=256)
def _cached_model(path: Path, name: str) -> ModelSpec:
    document = _read(path)
    config = document["config"]
    return model_from_config(
        served_as_embedding(config) if document.get("runner") == "pooling" else config,
        name=name,
        checkpoint_bytes=document.get("checkpoint_bytes"),
        revision=str(document["revision"]),
    )


def _model(folder: Path, name: str, catalogue: Catalogue) -> ModelSpec:
    catalogue.model_document(name)
    return _cached_model(folder / "models" / (name.replace("/", "--") + ".json"), name)


def _normal(name: str) -> str:
    text = name.strip().upper().replace("_", "-").replace(" ", "-")
    return text.removeprefix("NVIDIA-").removeprefix("AMD-").removeprefix("GEFORCE-")


def _nearest(name: str, known: Sequence[str]) -> str:
    lowered = {entry.lower(): entry for entry in known}
    close = difflib.get_close_matches(name.lower(), sorted(lowered), n=3, cutoff=0.4)
    if close:
        return "nearest known: " + ", ".join(lowered[entry] for entry in close)
    shown = sorted(known)[:MOST_LISTED]
    return f"known: {', '.join(shown)}" + (f" and {len(known) - len(shown)} others" if len(known) > len(shown) else "")


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _gpus(rows: Iterable[Mapping[str, Any]]) -> tuple[Gpu, ...]:
    return tuple(
        Gpu(
            name=row["name"],
            aliases=tuple(row["aliases"]),
            model=row["model"],
            architecture=row["architecture"],
            compute_capability=float(row["compute_capability"]),
            total_gib=float(row["total_gib"]),
            bandwidth_gb_s=float(row["bandwidth_gb_s"]),
            dense_tflops=MappingProxyType({key: float(value) for key, value in row["dense_tflops"].items()}),
            link=row["link"],
            link_gb_s=float(row["link_gb_s"]),
            karpenter_name=row["karpenter_name"],
        )
        for row in rows
    )


def _instance(row: Mapping[str, Any]) -> Instance:
    values = dict(row)
    values["on_demand_usd_per_hour"] = MappingProxyType(dict(row["on_demand_usd_per_hour"]))
    values["spot_usd_per_hour"] = MappingProxyType(
        {region: MappingProxyType(dict(zones)) for region, zones in row["spot_usd_per_hour"].items()}
    )
    values["zone_ids"] = MappingProxyType({region: tuple(zones) for region, zones in row["zone_ids"].items()})
    values["regions"] = tuple(row["regions"])
    return Instance(**values)


def _prices(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Mapping[str, float]]:
    table = {row["name"]: {key: value for key, value in row.items() if key != "name"} for row in rows}
    return MappingProxyType({name: MappingProxyType(by_region) for name, by_region in sorted(table.items())})


@lru_cache(maxsize=4)
def load_catalogue(folder: Path = HERE) -> Catalogue:
    """Read the catalogue once; model files are read when asked for."""
    names = ("gpus", "instances", "prices", "engine_defaults", "constants")
    files = {name: _read(folder / f"{name}.json") for name in names}
    instances = files["instances"]
    priced = {region for row in instances["instances"] for region in row["on_demand_usd_per_hour"]}
    return Catalogue(
        date=instances["date"],
        gpus=_gpus(files["gpus"]["gpus"]),
        all_instances=tuple(_instance(row) for row in instances["instances"]),
        regions=tuple(Region(name=name, zone_ids=tuple(instances["zone_ids"][name])) for name in sorted(priced)),
        prices=_prices(files["prices"]["prices"]),
        quotas=MappingProxyType(instances["quotas"]),
        sources=MappingProxyType({name: f"catalogue/{name}.json of {file['date']}" for name, file in files.items()}),
        folder=folder,
    )
