"""Find the model that a user names: the catalogue, a ``config.json``, or a folder with one and its checkpoint.

Local files only; a Hub id that is not in the catalogue is the caller's to download. Reading is bounded: a
configuration over 4 MiB or nested deeper than Python's parser allows is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from sizing.catalogue.catalogue import Catalogue
from sizing.errors import BadInput
from sizing.models.checkpoint import read_checkpoint, with_checkpoint
from sizing.models.families.embedding import served_as_embedding
from sizing.models.from_config import model_from_config
from sizing.models.spec import ModelSpec

CONFIG_LIMIT_BYTES = 4 << 20
LONGEST_NAME = 200
NAME = re.compile(r"[A-Za-z0-9][\w-]*(\.[\w-]+)*(/[A-Za-z0-9][\w-]*(\.[\w-]+)*)?")
"""A name as the Hub allows it: no path, no ``..``."""


def is_local(argument: str) -> bool:
    """Return True when ``argument`` means a file or folder and not a name."""
    return argument.endswith(".json") or argument.startswith((".", "/", "~")) or Path(argument).is_dir()


def load_model(argument: str, catalogue: Catalogue, *, head: bool = False) -> ModelSpec:
    """Return the model that ``argument`` names: a catalogue name first, else a local file or folder.

    The checkpoint of a ``head`` that drafts for another model leaves out what the two share, and is not compared.
    """
    if len(argument) > 4096 or "\0" in argument:
        raise BadInput("model", "the name is too long or holds a zero byte")
    if not is_local(argument):
        return catalogue.model(argument)
    path = Path(argument).expanduser()
    file = path / "config.json" if path.is_dir() else path
    config = dict(read_object(file, CONFIG_LIMIT_BYTES))
    modelopt = file.parent / "hf_quant_config.json"
    if "quantization_config" not in config and modelopt.is_file():
        config["quantization_config"] = modelopt_of(read_object(modelopt, CONFIG_LIMIT_BYTES))
    if (file.parent / "modules.json").is_file():
        config = dict(served_as_embedding(config))
    model = model_from_config(config, name=model_name(config, file))
    if head:
        return model
    return with_checkpoint(model, read_checkpoint(file.parent, tied=model.tie_word_embeddings))


def model_name(config: Mapping[str, object], file: Path) -> str:
    """Return the name that a configuration gives itself where it is a name, else that of its folder.

    A path (of the machine that trained the model) is no name, and never becomes part of one.
    """
    stated = str(config.get("_name_or_path") or "")
    folder = file.resolve().parent.name
    return stated if NAME.fullmatch(stated) and len(stated) <= LONGEST_NAME else folder[:LONGEST_NAME]


def read_object(file: Path, limit_bytes: int) -> Mapping[str, object]:
    """Read a JSON object of at most ``limit_bytes``; BadInput says what is wrong with the file."""
    where = f"{file.name} in {file.parent.name or '.'}"
    try:
        if not file.is_file():
            raise BadInput(
                "model", f"there is no {where}", way_out="name a catalogue model, a config.json or its folder"
            )
        if file.stat().st_size > limit_bytes:
            raise BadInput("model", f"{where} is too large", limit=f"{limit_bytes} bytes")
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("model", f"{where} cannot be read: {type(error).__name__}") from None
    except RecursionError:
        raise BadInput("model", f"{where} is nested too deeply") from None
    except ValueError as error:
        raise BadInput("model", f"{where} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadInput("model", f"{where} holds no JSON object")
    return document


def modelopt_of(document: Mapping[str, object]) -> dict[str, object]:
    """Return NVIDIA ModelOpt's own file in the form of a quantization_config."""
    stated = document.get("quantization")
    if not isinstance(stated, Mapping):
        raise BadInput("hf_quant_config.json: quantization", "missing or not an object")
    return {**stated, "quant_method": "modelopt"}
