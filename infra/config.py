"""Reads settings: from ``pulumi.Config`` inside a program, from the stack file outside; one validation for both.

A stack file is first converted to the form in which the engine passes configuration to a program (flat keys, values as
text, objects as JSON). Every error is one line: file, key, value, reason, hint.
"""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from infra.settings.meaning import check_meaning
from infra.settings.schema import LAYER_MODELS, LAYERS, NAMESPACE, REGION_KEY, StackSettings, config_key
from infra.traces import with_trace_figures
from sizing.errors import BadInput

STACKS_DIR = Path(__file__).resolve().parent.parent / "stacks"
MOST_SHOWN = 60
"""Characters of a value that a message repeats."""
IGNORED_NAMESPACES = ("pulumi:",)
"""Keys for the engine itself, for example ``pulumi:tags``."""


def settings_from_pulumi(stacks_dir: Path = STACKS_DIR) -> StackSettings:
    """Return the settings of the running program; its stack file is in ``stacks_dir``."""
    import pulumi  # noqa: PLC0415 (the file form is used without the SDK)
    from pulumi.runtime import config as runtime_config  # noqa: PLC0415

    stack = pulumi.get_stack()
    values = runtime_config.CONFIG.get() or runtime_config.get_config_env()
    secret = sorted(key for key in values if key.startswith(f"{NAMESPACE}:") and runtime_config.is_config_secret(key))
    secret += sorted(set(runtime_config.get_config_secret_keys_env()) & set(values) - set(secret))
    for key in secret:
        raise _secret(_label(stack), key)
    return settings_from_values(values, where=_label(stack), folder=stacks_dir)


def settings_from_file(path: Path) -> StackSettings:
    """Return the settings of one stack file; BadInput names file, line or key."""
    return settings_from_values(config_values(path), where=_shown(path), folder=path.parent)


def stack_file(stack: str, stacks_dir: Path = STACKS_DIR) -> Path:
    """Return the file of a stack; BadInput lists the stacks that exist."""
    path = stacks_dir / f"Pulumi.{stack}.yaml"
    if "/" in stack or not path.is_file():
        known = stacks(stacks_dir)
        nearest = difflib.get_close_matches(stack, known, n=1)
        guess = f"did you mean {nearest[0]}? " if nearest else ""
        raise BadInput(
            "stack",
            f"{stack!r} does not exist in {_shown(stacks_dir)}",
            way_out=f"{guess}there are: {', '.join(known) or 'none'}",
        )
    return path


def cluster_stack_file(stack: str, stacks_dir: Path = STACKS_DIR) -> Path:
    """Return the file of the cluster stack of a serving stack; BadInput says how to name another."""
    try:
        return stack_file(stack, stacks_dir)
    except BadInput:
        way_out = f"write stacks/Pulumi.{stack}.yaml or set tonnage:clusterStack"
        raise BadInput(f"cluster stack {stack}", "has no stack file", way_out=way_out) from None


def stacks(stacks_dir: Path = STACKS_DIR) -> tuple[str, ...]:
    """Return the names of the stacks that have a file, sorted."""
    return tuple(sorted(path.name[len("Pulumi.") : -len(".yaml")] for path in stacks_dir.glob("Pulumi.?*.yaml")))


class _OneOfEachKey(yaml.SafeLoader):
    """A safe loader that refuses duplicate keys, of which YAML silently keeps the last.

    What a constructor cannot make of a value, such as the date 2026-02-30, is an error of YAML with its position.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node; YAMLError gives the position of one that cannot be read."""
        try:
            return super().construct_object(node, deep=deep)
        except (AttributeError, KeyError, TypeError, ValueError):
            problem = f"{_cut(str(node.value))!r} is no {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping; YAMLError gives the position of the duplicate key."""
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


def config_values(path: Path) -> dict[str, str]:
    """Return the configuration of a stack file as the engine passes it: full keys, text, objects as JSON."""
    try:
        return _config_values(path, _shown(path))
    except RecursionError:
        problem = "is nested too deeply, or contains itself"
        raise BadInput(_shown(path), problem, way_out="write each value out, without & and *") from None


def _config_values(path: Path, where: str) -> dict[str, str]:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_OneOfEachKey)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise BadInput(where, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(where, "is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise _broken_yaml(where, error) from None
    config = document.get("config") if isinstance(document, Mapping) else None
    if not isinstance(config, Mapping):
        raise BadInput(where, "has no mapping `config`", way_out="start with `config:` and indent the keys below it")
    values: dict[str, str] = {}
    for key, value in config.items():
        name = str(key) if ":" in str(key) else f"{NAMESPACE}:{key}"
        _refuse_secret(where, name, value)
        values[name] = value if isinstance(value, str) else _wire(where, name, value)
    return values


def settings_from_values(values: Mapping[str, str], *, where: str, folder: Path) -> StackSettings:
    """Validate configuration as the engine passes it; ``where`` starts every message, traces are in ``folder``."""
    layer = values.get(config_key("layer"))
    if layer not in LAYERS:
        problem = "missing" if layer is None else f"{layer!r} is not a layer"
        raise BadInput(f"{where}: {config_key('layer')}", problem, limit=" or ".join(LAYERS))
    model = LAYER_MODELS[layer]
    document: dict[str, Any] = {}
    for key in sorted(values):
        if key.startswith(IGNORED_NAMESPACES):
            continue
        name = "region" if key == REGION_KEY else key.removeprefix(f"{NAMESPACE}:")
        if key != REGION_KEY and not key.startswith(f"{NAMESPACE}:"):
            raise _unknown_key(f"{where}: {key}", key, [config_key(alias) for alias in _aliases(model)])
        if name == "region" and key != REGION_KEY:
            raise BadInput(f"{where}: {key}", "unknown key", way_out=f"did you mean {REGION_KEY}?")
        document[name] = _read(model, name, values[key])
        _refuse_secret(where, key, document[name])
    _read_traces(document.get("models"), where, folder)
    try:
        settings: StackSettings = model.model_validate(document)
    except ValidationError as error:
        raise _first_problem(error, model, where) from None
    check_meaning(settings, where)
    return settings


def _read_traces(models: object, where: str, folder: Path) -> None:
    """Fill workloads that name a trace with its figures; invalid workloads are refused later."""
    for index, entry in enumerate(models if isinstance(models, list) else ()):
        workload = entry.get("workload") if isinstance(entry, dict) else None
        if isinstance(workload, dict) and workload.get("trace") is not None:
            place = f"{where}: {config_key('models')}[{index}].workload.trace"
            entry["workload"] = with_trace_figures(workload, folder, place)


def _label(stack: str) -> str:
    return f"{STACKS_DIR.name}/Pulumi.{stack}.yaml"


def _shown(path: Path) -> str:
    """Return the last two parts of a path, which do not depend on the machine."""
    return "/".join(path.parts[-2:])


def _wire(where: str, key: str, value: object) -> str:
    try:
        return json.dumps(value)
    except TypeError:
        way_out = "quote dates and times"
        raise BadInput(f"{where}: {key}", f"{_cut(repr(value))} is not plain data", way_out=way_out) from None


def _cut(text: str) -> str:
    """Return a value as a message shows it: its beginning."""
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."


def _read(model: type[BaseModel], alias: str, text: str) -> Any:
    """Parse one top-level value: as text where the setting is text, else as JSON."""
    field = next((field for name, field in model.model_fields.items() if _alias(name, field) == alias), None)
    if field is not None and (field.annotation is str or _literal(field.annotation)):
        return text
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # of a number with thousands of digits, of thousands of brackets
        return text


def _literal(annotation: object) -> bool:
    return typing.get_origin(annotation) is typing.Literal


def _broken_yaml(where: str, error: yaml.YAMLError) -> BadInput:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "unknown place"
    problem = getattr(error, "problem", None) or "cannot be read"
    return BadInput(f"{where}: {place}", f"not YAML: {problem}", way_out="check indentation, quotes and brackets there")


def _refuse_secret(where: str, key: str, value: object) -> None:
    """Refuse ``secure:`` anywhere: the typed document carries references to secrets, never secrets."""
    if isinstance(value, Mapping):
        if "secure" in value:
            raise _secret(where, key)
        for name, item in value.items():
            _refuse_secret(where, f"{key}.{name}", item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _refuse_secret(where, f"{key}[{index}]", item)


def _secret(where: str, key: str) -> BadInput:
    return BadInput(
        f"{where}: {key}",
        "holds a secret (`secure:`), which settings must not",
        way_out="store it in AWS Secrets Manager and give its ARN (hubSecretArn, gateway.apiKeysSecretArn)",
    )


def _first_problem(error: ValidationError, model: type[BaseModel], where: str) -> BadInput:
    """Return the error to report: an unknown key comes before the missing key that it causes."""
    problems = error.errors(include_url=False)
    order = {"extra_forbidden": 0, "missing": 1}
    first = min(problems, key=lambda problem: order.get(problem["type"], 2))
    place = f"{where}: {_path(first['loc'])}"
    owner = _owner(model, first["loc"])
    if first["type"] == "extra_forbidden":
        return _unknown_key(place, str(first["loc"][-1]), _aliases(owner), top=len(first["loc"]) == 1)
    if first["type"] == "missing":
        description = _description(owner, str(first["loc"][-1]))
        return BadInput(place, "missing", way_out=f"it is required: {description}" if description else "it is required")
    return _wrong_value(place, first)


def _wrong_value(place: str, problem: Any) -> BadInput:
    value, kind, context = problem["input"], problem["type"], problem.get("ctx", {})
    shown = json.dumps(value, default=str) if not isinstance(value, str) else repr(value)
    shown = _cut(shown)
    if kind in {"float_type", "int_type", "float_parsing", "int_parsing", "int_from_float"}:
        return BadInput(place, f"{shown} is not {_number(kind)}", way_out=_number_hint(value, kind))
    if kind == "value_error":
        return BadInput(place, str(context.get("error", problem["msg"])))
    if kind == "string_pattern_mismatch":
        return BadInput(place, f"{shown} does not have the form needed", limit=form(context["pattern"]))
    if kind == "tuple_type":
        return BadInput(place, f"{shown} is not a list", way_out="write a list, also for one item")
    if kind in {"model_type", "dict_type"}:
        return BadInput(place, f"{shown} is not a mapping", way_out="indent its keys below it")
    if kind in {"too_short", "too_long"}:
        shown, bound = f"a list of {context['actual_length']}", "least" if kind == "too_short" else "most"
        problem = {"msg": f"at {bound} {context.get('min_length', context.get('max_length'))} items"}
    limit = problem["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return BadInput(place, f"{shown} is not usable", limit=limit)


def _number(kind: str) -> str:
    return "a whole number" if kind.startswith("int") else "a number"


def _number_hint(value: object, kind: str) -> str:
    if isinstance(value, str):
        digits = value.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/%$ ").lstrip("$ ")
        try:
            float(digits)
        except ValueError:
            return f"write {_number(kind)}"
        unit = "without unit; the key names the unit" if digits != value.strip() else "without quotes"
        return f"write {digits} {unit}"
    return f"write {_number(kind)}"


_FORMS = {
    r"^[a-z0-9-]+(\.": "the short name of an AWS service, for example ecr.api",
    r"-az\d": "a zone id, for example use1-az1",
    "sha256": "an image digest: sha256: and 64 hexadecimal digits",
    ":policy/": "the ARN of an IAM policy: arn:aws:iam::<account>:policy/<name>",
    "(:\\d+)?(/": "a registry: its host, then / and a prefix where it has one",
    ":iam::": "the ARN of an IAM role: arn:aws:iam::<account>:role/<name>",
    ":secretsmanager:": "the ARN of a Secrets Manager entry",
    ":acm:": "the ARN of an ACM certificate",
    "[0-9a-f]{40}": "a commit, 40 lower-case hex digits, found with git ls-remote https://huggingface.co/<model> HEAD",
    r"1\.": "a quoted minor version, for example '1.36'",
    "[a-z]{2}(-": "a region name, for example us-east-1",
    "L-[0-9A-F]": "a quota code: L- and eight hexadecimal digits, for example L-DB2E81BA",
    "^[a-z]([-a-z0-9]": "a Kubernetes name: lower-case letters, digits and -, from a letter, at most 40 characters",
}


def form(pattern: str) -> str:
    """Describe in words what a pattern of the settings requires."""
    return next((form for mark, form in _FORMS.items() if mark in pattern), pattern)


def _unknown_key(place: str, key: str, known: Sequence[str], *, top: bool = False) -> BadInput:
    names = [config_key(name) for name in known] if top else list(known)
    wanted = config_key(key) if top else key
    lowered = {name.lower(): name for name in names}
    nearest = difflib.get_close_matches(wanted.lower(), list(lowered), n=1, cutoff=0.6)
    way_out = f"did you mean {lowered[nearest[0]]}?" if nearest else f"known keys: {', '.join(sorted(names))}"
    return BadInput(place, "unknown key", way_out=way_out)


def _path(location: Sequence[str | int]) -> str:
    if not location:
        return f"{NAMESPACE}:*"
    path = config_key(str(location[0]))
    for part in location[1:]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path


def _alias(name: str, field: Any) -> str:
    return field.alias or name


def _aliases(model: type[BaseModel]) -> list[str]:
    return [_alias(name, field) for name, field in model.model_fields.items()]


def _description(model: type[BaseModel], alias: str) -> str:
    return next((f.description or "" for name, f in model.model_fields.items() if _alias(name, f) == alias), "")


def _owner(model: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel]:
    """Return the model that owns the last key of a location."""
    for part in location[:-1]:
        field = next((f for name, f in model.model_fields.items() if _alias(name, f) == part), None)
        inner = _inner_model(field.annotation) if field is not None else None
        model = inner or model
    return model


def _inner_model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    found = (_inner_model(argument) for argument in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)
