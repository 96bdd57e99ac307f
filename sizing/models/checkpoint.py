"""What a checkpoint really holds, from the headers of its safetensors files: exact bytes, types, modules.

A folder has one file or shards named by ``model.safetensors.index.json``. Headers are read, weights are not; a file
that is truncated or inconsistent is refused in one line. ``check_quantisation`` compares with the configuration, and
``stored_quantisation`` corrects the quantisation by the modules that the files hold in plain form.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sizing.errors import BadInput
from sizing.models.from_config import CHECKPOINT_TOLERANCE
from sizing.models.quantisation.config import Quantisation
from sizing.models.quantisation.module_names import EXPERT, LAYER, MOST_NAMES, WRAPPERS, ModuleNames
from sizing.models.safetensors_header import LENGTH_BYTES, Tensor, header_length, parse_header
from sizing.models.spec import BYTES_OF_DTYPE, ModelSpec
from sizing.units import GIB

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
INDEX_LIMIT_BYTES = 64 << 20
MOST_FILES = 2000
MOST_TENSORS = 2_000_000
FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
PACKED = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8", "U8", "I32", "F4"})
"""Types in which checkpoints keep quantised weights."""
SCALES = ("scale", "scales", "scale_inv", "absmax", "qzeros", "g_idx", "quant_map", "SCB", "zero_point", "weight_shape")
SHARE_OF_CONTRADICTION = 0.2
"""Share of bytes in another format from which on the checkpoint is not the configuration's."""


HEADS, EMBEDDINGS = ("lm_head.weight", "output.weight"), ("embed_tokens.weight", "wte.weight")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Sizes of a checkpoint. Bytes and elements count a tied head once."""

    total_bytes: int
    parameters: int
    """Stored elements of weights without scales and zero points; a packed integer counts once."""
    bytes_by_dtype: tuple[tuple[str, int], ...]
    """Bytes by type, largest first; empty where only the index is at hand."""
    bytes_by_name: tuple[tuple[str, int], ...]
    """Bytes by tensor name with ``{i}`` for the layer and ``{e}`` for the expert, in order of names."""
    layers: tuple[int, ...] = ()
    """Decoder layers that have tensors."""
    plain_modules: tuple[str, ...] = ()
    """Modules of decoder layers whose weight is stored as a matrix of floats."""
    elements_by_dtype: tuple[tuple[str, int], ...] = ()

    def loaded_bytes(self, dtype_bytes: int) -> int:
        """Bytes once floats of 2 bytes and more are converted to a type of ``dtype_bytes``, as vLLM does."""
        converted = sum(elements * dtype_bytes for dtype, elements in self.elements_by_dtype if dtype in FLOATS)
        kept = sum(size for dtype, size in self.bytes_by_dtype if dtype not in FLOATS)
        return converted + kept if self.bytes_by_dtype else self.total_bytes

    def share(self, dtypes: Iterable[str]) -> float:
        """Share of the bytes in one of ``dtypes``; 0 where the types are not known."""
        wanted = set(dtypes)
        return sum(size for dtype, size in self.bytes_by_dtype if dtype in wanted) / max(self.total_bytes, 1)


def checkpoint_of(tensors: Iterable[Tensor], *, tied: bool = False) -> Checkpoint:
    """Sum up tensors; ``tied`` True: the head is the embedding and counts once where both are stored."""
    stored = {tensor.name: tensor for tensor in tensors}
    for name in _duplicates(stored) if tied else ():
        del stored[name]
    by_dtype: Counter[str] = Counter()
    by_name: Counter[str] = Counter()
    elements: Counter[str] = Counter()
    for tensor in stored.values():
        by_dtype[tensor.dtype] += tensor.size_bytes
        elements[tensor.dtype] += tensor.elements
        by_name[_pattern(tensor.name)] += tensor.size_bytes
    return Checkpoint(
        total_bytes=sum(by_dtype.values()),
        parameters=sum(tensor.elements for tensor in stored.values() if not tensor.name.endswith(SCALES)),
        bytes_by_dtype=tuple(sorted(by_dtype.items(), key=lambda item: (-item[1], item[0]))),
        elements_by_dtype=tuple(sorted(elements.items())),
        bytes_by_name=tuple(sorted(by_name.items())),
        layers=_decoder_layers(stored),
        plain_modules=_plain_modules(stored.values()),
    )


def _duplicates(stored: Mapping[str, Tensor]) -> list[str]:
    """Heads that are stored although they are the embedding."""
    embeddings = {(t.dtype, t.shape) for t in stored.values() if t.name.endswith(EMBEDDINGS)}
    return [t.name for t in stored.values() if t.name.endswith(HEADS) and (t.dtype, t.shape) in embeddings]


def _pattern(name: str) -> str:
    """Replace numbers of layers and experts by letters."""
    found = LAYER.search(name)
    if found:
        name = f"{name[: found.start(1)]}{{i}}{name[found.end(1) :]}"
    return EXPERT.sub(r"\1experts.{e}", name)


def _decoder_layer(name: str) -> int | None:
    """Return the layer of the language model that ``name`` belongs to, not of a vision or audio encoder."""
    components = name.split(".")
    first = 0
    while first < len(components) and components[first] in WRAPPERS | {"transformer", "decoder", "backbone"}:
        first += 1
    inner = components[first : first + 2]
    return (
        int(inner[1])
        if len(inner) == 2 and inner[0] in {"layers", "h"} and re.fullmatch(r"\d{1,6}", inner[1])
        else None
    )


def _decoder_layers(names: Iterable[str]) -> tuple[int, ...]:
    return tuple(sorted({layer for name in names if (layer := _decoder_layer(name)) is not None}))


def _plain_modules(tensors: Iterable[Tensor]) -> tuple[str, ...]:
    found = {
        EXPERT.sub(r"\1experts.0", tensor.name.removesuffix(".weight"))
        for tensor in tensors
        if tensor.dtype in FLOATS and len(tensor.shape) >= 2 and min(tensor.shape) > 1
        and tensor.name.endswith(".weight") and _decoder_layer(tensor.name) is not None
    }  # fmt: skip
    return tuple(sorted(found))


def read_checkpoint(folder: Path, *, tied: bool = False) -> Checkpoint | None:
    """Return what the safetensors files in ``folder`` hold; None when there are none.

    With only the index at hand, its total is taken. BadInput names the file that is missing, truncated or inconsistent.
    """
    try:
        index = _read_index(folder / INDEX)
        files = _files(folder, index)
        if not files:
            return from_index(index)
        tensors = [tensor for file in files for tensor in read_tensors(file)]
    except OSError as error:
        raise BadInput("checkpoint", f"{folder.name} cannot be read: {type(error).__name__}") from None
    return checkpoint_of(complete(tensors, index), tied=tied)


def read_tensors(file: Path) -> tuple[Tensor, ...]:
    """Return the tensors of one file from its header."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = header_length(file.name, stream.read(LENGTH_BYTES), size)
        header = stream.read(length)
    return parse_header(file.name, header, size - LENGTH_BYTES - length)


def _read_index(file: Path) -> Mapping[str, object]:
    if not file.is_file():
        return {}
    if file.stat().st_size > INDEX_LIMIT_BYTES:
        raise BadInput("checkpoint", f"{file.name} is too large", limit=f"{INDEX_LIMIT_BYTES} bytes")
    try:
        document = json.loads(file.read_bytes())
    except RecursionError:
        raise BadInput("checkpoint", f"{file.name} is nested too deeply") from None
    except ValueError:
        raise BadInput("checkpoint", f"{file.name} is not JSON", way_out="download the file again") from None
    if not isinstance(document, dict):
        raise BadInput("checkpoint", f"{file.name} holds no JSON object")
    return document


def weight_map(index: Mapping[str, object]) -> dict[str, str]:
    """Return tensor name -> file of an index; BadInput for a file name that leaves the folder."""
    stated = index.get("weight_map")
    if stated is None:
        return {}
    if not isinstance(stated, dict) or len(stated) > MOST_TENSORS:
        raise BadInput(
            "checkpoint", f"{INDEX}: weight_map is not an object of tensors", limit=f"{MOST_TENSORS} tensors"
        )
    for file in sorted({str(name) for name in stated.values()}):
        if not re.fullmatch(r"[\w-][\w.-]{0,250}\.safetensors", file):
            raise BadInput(
                "checkpoint", f"{INDEX} names {file[:80]!r}", limit="names of .safetensors files in the same folder"
            )
    return {str(name): str(file) for name, file in stated.items()}


def _files(folder: Path, index: Mapping[str, object]) -> list[Path]:
    """Files that make up the checkpoint, in order of names."""
    stated = sorted(set(weight_map(index).values()))
    there = sorted(file.name for file in folder.glob("*.safetensors") if not file.name.startswith("adapter_"))
    if len(stated) > MOST_FILES or len(there) > MOST_FILES:
        raise BadInput("checkpoint", f"{max(len(stated), len(there))} files", limit=f"{MOST_FILES} files")
    missing = [name for name in stated if name not in there]
    if there and missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        problem = f"{missing[0]}{others}, named in {INDEX}, is missing"
        raise BadInput("checkpoint", problem, way_out="complete the download")
    if not there:
        return []
    shared = [name for name in there if not name.startswith("consolidated")]
    return [_inside(folder, name) for name in stated or shared or there]


def _inside(folder: Path, name: str) -> Path:
    """Refuse a link that leads out of the folder, or out of the Hub's cache where the folder is a snapshot in it."""
    root = folder.resolve()
    if root.parent.name == "snapshots":
        root = root.parent.parent
    target = (folder / name).resolve()
    if not target.is_relative_to(root) or not target.is_file():
        raise BadInput("checkpoint", f"{name} is no file inside {folder.name or 'the folder'}")
    return target


def from_index(index: Mapping[str, object]) -> Checkpoint | None:
    """Return the totals of an index whose files are not at hand."""
    names = sorted(weight_map(index))
    total = total_size(index)
    if total is None:
        return None
    return Checkpoint(
        total_bytes=total, parameters=0, bytes_by_dtype=(), bytes_by_name=(), layers=_decoder_layers(names)
    )  # fmt: skip


def total_size(index: Mapping[str, object]) -> int | None:
    """Return the bytes of all tensors that an index states; None when it does not."""
    metadata = index.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    if isinstance(total, float) and total.is_integer():
        total = int(total)  # some tools write it as 1.6e10
    return total if type(total) is int and 0 < total < 1 << 50 else None


def complete(tensors: Sequence[Tensor], index: Mapping[str, object]) -> Sequence[Tensor]:
    """Return ``tensors``; BadInput where some are twice there, or named in the index and not there."""
    counts = Counter(tensor.name for tensor in tensors)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise BadInput("checkpoint", f"{len(twice)} tensors stand in two files, first {twice[0][:80]!r}")
    missing = sorted(name for name in weight_map(index) if name not in counts)
    if missing:
        problem = f"{len(missing)} tensors of {INDEX} are missing, first {missing[0][:80]!r}"
        raise BadInput("checkpoint", problem, way_out="complete the download")
    return tensors


def with_checkpoint(model: ModelSpec, checkpoint: Checkpoint | None) -> ModelSpec:
    """Return the model with the bytes and the quantisation of its checkpoint; BadInput where they contradict it."""
    if checkpoint is None:
        return model
    if not 0 < checkpoint.total_bytes < 1 << 50:
        raise BadInput("checkpoint", f"{checkpoint.total_bytes} bytes of weights", limit="1 to 2**50")
    check_quantisation(model, checkpoint)
    quantisation = stored_quantisation(model.quantisation, checkpoint)
    model = replace(model, quantisation=quantisation, checkpoint_bytes=checkpoint.total_bytes)
    held = checkpoint.loaded_bytes(BYTES_OF_DTYPE[model.dtype])
    described, most = model.weight_bytes(), model.weight_bytes(draft=True)
    if held / described <= 1 - CHECKPOINT_TOLERANCE or held / most >= 1 + CHECKPOINT_TOLERANCE:
        raise BadInput(
            "checkpoint", f"{held / GIB:.2f} GiB of weights, but config.json describes {described / GIB:.2f} GiB",
            limit=f"within {CHECKPOINT_TOLERANCE:.0%}",
            way_out="complete the download, or state torch_dtype and quantization_config as the checkpoint is stored",
        )  # fmt: skip
    return model


def check_quantisation(model: ModelSpec, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint quantised otherwise than the configuration says, or without some of its layers."""
    way_out = "state quantization_config as the checkpoint is stored, or take the config.json that belongs to it"
    packed = checkpoint.share(PACKED)
    largest = checkpoint.bytes_by_dtype[0][0] if checkpoint.bytes_by_dtype else ""
    if model.quantisation.bits == 16 and not model.quantisation.groups and packed > SHARE_OF_CONTRADICTION:
        problem = f"config.json states no quantisation, but {packed:.0%} of the bytes are quantised ({largest})"
        raise BadInput("checkpoint", problem, way_out=way_out)
    if model.quantisation.bits < 16 and checkpoint.bytes_by_dtype and packed < SHARE_OF_CONTRADICTION / 2:
        problem = (
            f"config.json states {model.quantisation.method}, but {1 - packed:.0%} of the bytes are plain ({largest})"
        )
        raise BadInput("checkpoint", problem, way_out=way_out)
    missing = sorted(set(range(model.num_layers)) - set(checkpoint.layers)) if checkpoint.layers else []
    if missing:
        problem = f"no tensors of layer {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
        raise BadInput("checkpoint", f"{problem} of {model.num_layers}", way_out="complete the download")


def stored_quantisation(quantisation: Quantisation, checkpoint: Checkpoint) -> Quantisation:
    """Add the modules that the files hold unquantised though no list says so; vLLM reads that too (AWQ, GPTQ)."""
    if not quantisation.groups:
        return quantisation
    plain = tuple(name for name in checkpoint.plain_modules if not quantisation.scheme_of(name).plain)
    if not plain or len(plain) > MOST_NAMES:
        return quantisation
    return replace(quantisation, stored_plain=ModuleNames(entries=plain))
