"""Options that several verbs share, and how a mistake in one is named."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel, ValidationError

    from sizing.memory.size import Sizing

    Stated = TypeVar("Stated", bound=BaseModel)
    Number = TypeVar("Number", int, float, float | None)


class Format(StrEnum):
    """How a document is shown."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


FormatOption = Annotated[Format, typer.Option("--format", help="How to show it; json is the stable contract.")]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="Catalogue name, a config.json, a folder with one, or a Hub id.")
]
Stack = Annotated[str, typer.Argument(metavar="STACK", help="Name of a stack: stacks/Pulumi.STACK.yaml.")]
GpuRequired = Annotated[str, typer.Option("--gpu", metavar="GPU", help="GPU type, for example L4 or H100.")]
InputTokens = Annotated[int, typer.Option("--input-tokens", metavar="N", help="Mean prompt tokens of a request.")]
OutputTokens = Annotated[int, typer.Option("--output-tokens", metavar="N", help="Mean generated tokens of a request.")]
RequestsPerSecondOptional = Annotated[
    float | None, typer.Option("--requests-per-second", metavar="R", help="Mean arrival rate at the peak hour.")
]
InputTokensOptional = Annotated[
    int | None, typer.Option("--input-tokens", metavar="N", help="Mean prompt tokens of a request.")
]
OutputTokensOptional = Annotated[
    int | None, typer.Option("--output-tokens", metavar="N", help="Mean generated tokens of a request.")
]
Trace = Annotated[
    str | None, typer.Option("--trace", metavar="FILE", help="Requests (CSV or JSON lines) for what is not stated.")
]
GpuTotalGib = Annotated[
    float | None, typer.Option("--gpu-total-gib", metavar="X", help="Memory of the card as CUDA reports it, in GiB.")
]
WeightsGib = Annotated[
    float | None, typer.Option("--weights-gib", metavar="X", help="Weights per GPU as vLLM reports them, in GiB.")
]


def validated(
    kind: type[Stated], values: Mapping[str, object], options: Mapping[str, str] = MappingProxyType({})
) -> Stated:
    """Build ``kind`` from the option values that were given; BadInput names the option.

    ``options``: names of options that differ from their key.
    """
    from pydantic import ValidationError

    given = {key: value for key, value in values.items() if value is not None}
    try:
        return kind(**given)
    except ValidationError as error:
        raise _bad_option(error, options) from error


def does_not_fit(sizing: Sizing) -> Exception:
    """Return the refusal (exit 3) of a verb whose model does not fit."""
    from sizing.errors import DoesNotFit

    hints = "; ".join(sizing.memory.hints)
    problem = f"does not fit {sizing.gpu.name}: binding is {sizing.memory.binding}"
    return DoesNotFit(sizing.model.name, problem, way_out=hints or "a larger GPU or --tensor-parallel")


def positive(option: str, value: Number, most: float | None = None) -> Number:
    """Return ``value`` unless it is not a positive finite number, at most ``most``; BadInput names the option."""
    from math import isfinite

    from sizing.errors import BadInput

    if value is not None and not (isfinite(value) and value > 0):
        raise BadInput(option, f"{value} is not a positive number")
    if value is not None and most is not None and value > most:
        raise BadInput(option, f"{value:g} is more than can be told", limit=f"{most:g}")
    return value


def _bad_option(error: ValidationError, options: Mapping[str, str]) -> Exception:
    from sizing.errors import BadInput

    first = error.errors(include_url=False)[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    where = options.get(key) or (option_of(key) if key else "options")
    if first["type"] == "value_error":  # a validator of ours, whose text names the keys and a hint
        return BadInput(where, str(first["ctx"]["error"]))
    return BadInput(where, f"{str(first['input'])[:80]}: {first['msg'][:1].lower()}{first['msg'][1:]}")


def key_of(name: str) -> str:
    """Return the key of a stack file for the name of a parameter: ``inputTokensP95`` of ``input_tokens_p95``."""
    from pydantic.alias_generators import to_camel

    return to_camel(name)


def option_of(key: str) -> str:
    """Return the option of a key: ``--input-tokens`` of ``inputTokens`` or ``input_tokens``."""
    return "--" + "".join("-" + char.lower() if char.isupper() else char for char in key).replace("_", "-")
