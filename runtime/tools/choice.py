"""Which files of a revision are copied: one set of weights, as the engine reads it, and what is needed beside it.

The engine streams every ``.safetensors`` file that it finds, so a second set beside the first would be read too:
Mistral's ``consolidated.safetensors``, shards in another precision, adapters, ``original/``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from .hub import IngestError

INDEX, SINGLE, MODULES = "model.safetensors.index.json", "model.safetensors", "modules.json"
SERVED = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
"""What vLLM reads beside weights, in the root folder."""
TEMPLATES = "additional_chat_templates/*.jinja"
SMALL_BYTES = 64 * 2**20
"""Most that a file beside weights may have: vocabularies of large tokenizers have tens of MiB."""
OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.gguf", "*.h5", "*.msgpack", "*.npz", "*.nemo", "*.onnx")
SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})")


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """One file of a revision, with the digest that the hub states for it."""

    path: str
    size: int
    algorithm: str
    digest: str

    @property
    def is_weights(self) -> bool:
        """Whether the engine would read tensors from it."""
        return self.path.endswith(".safetensors")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The files to copy, sorted by path, and in words how the weights were chosen."""

    files: tuple[HubFile, ...]
    says: str


def hub_file(entry: Mapping[str, Any]) -> HubFile:
    """Return one row of the hub's listing; ``IngestError`` for a path that could leave the prefix, or a bad row."""
    path, size, large = str(entry.get("path") or ""), entry.get("size"), entry.get("lfs")
    if not path.isprintable() or "\\" in path or {"", ".", ".."} & set(path.split("/")):
        msg = f"hub: lists the path {path!r:.80}; limit: a path below the model's folder; hint: choose another revision"
        raise IngestError(msg)
    algorithm, digest = ("sha256", large.get("oid")) if isinstance(large, dict) else ("git-sha1", entry.get("oid"))
    digits = 64 if algorithm == "sha256" else 40
    if not isinstance(size, int) or size < 0 or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", str(digest)):
        msg = f"{path}: is listed without size or digest; hint: check that HF_ENDPOINT is a hub"
        raise IngestError(msg)
    return HubFile(path=path, size=size, algorithm=algorithm, digest=str(digest))


def choose(files: Sequence[HubFile], name: str, read: Callable[[HubFile], bytes]) -> Choice:
    """Return what is copied of a revision called ``name``; ``read`` returns the verified bytes of a small file."""
    by_path = {file.path: file for file in files}
    weights, index, says = _weights(by_path, name, read)
    beside = [file for path, file in by_path.items() if _is_served(path) and (".index." not in path or path == index)]
    beside += [file for path, file in by_path.items() if fnmatchcase(path, TEMPLATES) and path.count("/") == 1]
    beside += _of_modules(by_path, name, read)
    for file in beside:
        _check_small(file)
    left = sorted(path for path, file in by_path.items() if file.is_weights and path not in weights)
    chosen = {file.path: file for file in (*(by_path[path] for path in weights), *beside)}
    says += f"; left at the hub: {_listed(left)}" if left else ""
    return Choice(files=tuple(chosen[path] for path in sorted(chosen)), says=says)


def _is_served(path: str) -> bool:
    return "/" not in path and any(fnmatchcase(path, pattern) for pattern in SERVED)


def _weights(by_path: Mapping[str, HubFile], name: str, read: Callable[[HubFile], bytes]) -> tuple[list[str], str, str]:
    """Return the paths of the weights, that of their index ("" for none), and how they were found."""
    root = sorted(path for path, file in by_path.items() if file.is_weights and "/" not in path)
    sets: dict[str, list[str]] = {}
    for path in root:
        stem = path.removesuffix(".safetensors")
        match = SHARD.fullmatch(stem)
        sets.setdefault(match[1] if match else stem, []).append(path)
    mistral = {key: paths for key, paths in sets.items() if key == "consolidated"}
    sets = {key: paths for key, paths in sets.items() if key not in mistral and not key.startswith("adapter_")}
    if INDEX in by_path:
        return _named(by_path, INDEX, name, read), INDEX, f"weights: those that {INDEX} names"
    if SINGLE in by_path:
        return [SINGLE], "", f"weights: {SINGLE}"
    if not sets and mistral:
        index = "consolidated.safetensors.index.json"
        if index in by_path:
            return _named(by_path, index, name, read), index, f"weights: Mistral's format, those that {index} names"
        return _whole(mistral["consolidated"], name), "", "weights: Mistral's format, consolidated.safetensors"
    if len(sets) > 1:
        one_each = [paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more" for paths in sets.values()]
        way_out = f"state a revision with {INDEX} or one set of weights"
        msg = f"{name}: has {len(sets)} sets of weights and no index: {', '.join(one_each)}; hint: {way_out}"
        raise IngestError(msg)
    if not sets:
        raise IngestError(_without_weights(by_path, name))
    (key, paths), *_ = sets.items()
    index = f"{key}.safetensors.index.json"
    if index in by_path:
        return _named(by_path, index, name, read), index, f"weights: those that {index} names"
    return _whole(paths, name), "", f"weights: {_listed(paths)}"


def _without_weights(by_path: Mapping[str, HubFile], name: str) -> str:
    """Return the line that refuses a revision whose root folder has no weights that can be streamed."""
    others = sorted(
        path for path in by_path
        if "/" not in path and any(fnmatchcase(path, pattern) for pattern in (*OTHER_WEIGHTS, "adapter_*.safetensors"))
    ) or sorted(path for path, file in by_path.items() if file.is_weights)  # fmt: skip
    holds = f", it holds {_listed(others)}" if others else ""
    way_out = "state a revision that has, such as the commit of a conversion pull request at the hub"
    return f"{name}: has no .safetensors weights in its root folder{holds}; limit: safetensors; hint: {way_out}"


def _named(by_path: Mapping[str, HubFile], index: str, name: str, read: Callable[[HubFile], bytes]) -> list[str]:
    """Return the shards that an index names; each must be a file of the revision."""
    document = _json(by_path[index], read)
    weight_map = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        msg = f"{name}: {index} names no weights; limit: weight_map; hint: state another revision"
        raise IngestError(msg)
    shards = sorted({str(shard) for shard in weight_map.values()})
    bad = [shard for shard in shards if shard not in by_path or not shard.endswith(".safetensors") or "/" in shard]
    if bad:
        reason = f"{index} names {bad[0]!r:.80}, which is no .safetensors file of the revision's root folder"
        msg = f"{name}: {reason} ({len(bad)} of {len(shards)}); hint: state another revision"
        raise IngestError(msg)
    return shards


def _whole(paths: Sequence[str], name: str) -> list[str]:
    """Return shards that have no index; ``IngestError`` when some are missing."""
    match = SHARD.fullmatch(paths[0].removesuffix(".safetensors"))
    if match and len(paths) != int(match[3]):
        msg = f"{name}: has {len(paths)} of {int(match[3])} shards {match[1]}-*; hint: state a complete revision"
        raise IngestError(msg)
    return list(paths)


def _of_modules(by_path: Mapping[str, HubFile], name: str, read: Callable[[HubFile], bytes]) -> list[HubFile]:
    """Return the configuration of the folders that sentence-transformers' modules.json names, such as 1_Pooling."""
    document = _json(by_path[MODULES], read) if MODULES in by_path else []
    folders = {str(one.get("path") or "") for one in document if isinstance(one, dict)} - {""}
    found = []
    for path, file in by_path.items():
        folder, _, last = path.rpartition("/")
        if folder in folders and file.is_weights:
            reason = f"{MODULES} names {folder}, which has weights of its own, and the root folder's alone are streamed"
            msg = f"{name}: {reason}; hint: choose an embedding model without them"
            raise IngestError(msg)
        if folder in folders and last.endswith(".json"):
            found.append(file)
    return found


def _check_small(file: HubFile) -> None:
    if file.size > SMALL_BYTES:
        msg = f"{file.path}: {file.size} bytes beside the weights; limit: {SMALL_BYTES}; hint: choose another revision"
        raise IngestError(msg)


def _json(file: HubFile, read: Callable[[HubFile], bytes]) -> Any:
    _check_small(file)
    try:
        return json.loads(read(file))
    except (ValueError, RecursionError):
        msg = f"{file.path}: is not JSON; hint: state another revision"
        raise IngestError(msg) from None


def _listed(paths: Sequence[str]) -> str:
    """Return some names and how many more."""
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
