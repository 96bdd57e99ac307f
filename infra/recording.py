"""Runs a Pulumi program without an engine and records its resource registrations.

Under the SDK's mocks every registration reaches ``RecordingMonitor`` as the raw request, with parent, dependencies and
options. Its answers come from ``infra.provider_outputs``, so that computed outputs exist and wiring mistakes show. With
``preview=True`` computed outputs stay unknown, as in a real preview.

The SDK keeps its state in context variables; each run gets a fresh context and event loop, so that runs in one process
are independent.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pulumi
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime import mocks, rpc
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import configure, set_root_resource
from pulumi.runtime.stack import run_in_stack

from infra.outputs import READ_OUTPUTS
from infra.provider_outputs import Properties, synthesise

PROJECT = "tonnage"
ORGANIZATION = "organization"
UNKNOWN = rpc.UNKNOWN
"""Placeholder of a value that is unknown during preview."""

Answer = Callable[[str, str, Mapping[str, object]], Properties]
"""(token, logical name, inputs) -> outputs with ``id``."""
Program = Callable[[], Awaitable[None] | None]


@dataclass(frozen=True, kw_only=True)
class RecordedResource:
    """One registration: the request of the program and the answer.

    ``props`` are the inputs in wire form (camelCase), secrets in plain; ``secret_keys`` names the top-level inputs
    that were marked as secrets.
    """

    urn: str
    type: str
    name: str
    custom: bool
    props: Properties
    outputs: Properties = field(default_factory=dict)
    id: str = ""
    parent: str = ""
    provider: str = ""
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    protect: bool = False
    retain_on_delete: bool = False
    delete_before_replace: bool = False
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    additional_secret_outputs: tuple[str, ...] = ()
    secret_keys: tuple[str, ...] = ()
    deleted_with: str = ""
    import_id: str = ""
    aliases: tuple[str, ...] = ()
    custom_timeouts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """All registrations of one run of a program, sorted by URN."""

    resources: tuple[RecordedResource, ...]
    outputs: Properties
    """Exports of the stack."""
    component_outputs: Mapping[str, Properties]
    """What each component registered as its outputs: URN -> outputs."""
    messages: tuple[tuple[str, str], ...] = ()
    """(level, text) of ``pulumi.log`` calls, from ``warning`` upwards."""

    def of_type(self, token: str) -> tuple[RecordedResource, ...]:
        """Return the resources of one type."""
        return tuple(resource for resource in self.resources if resource.type == token)

    def one(self, token: str, name: str | None = None) -> RecordedResource:
        """Return the only resource of a type (and logical name); LookupError says what there was instead."""
        found = [item for item in self.of_type(token) if name is None or item.name == name]
        if len(found) != 1:
            names = [item.name for item in self.of_type(token)] or sorted({item.type for item in self.resources})
            msg = f"{len(found)} resources {token} {name or ''}; there are: {', '.join(names)}"
            raise LookupError(msg)
        return found[0]

    @property
    def urns(self) -> tuple[str, ...]:
        """URNs of all resources, sorted."""
        return tuple(resource.urn for resource in self.resources)


def plain(value: object) -> object:
    """Return wire data as plain Python: secrets unwrapped, integral numbers as int, references as URN or id."""
    if isinstance(value, struct_pb2.Struct):
        signature = dict(value).get(rpc._special_sig_key)
        if signature == rpc._special_secret_sig:
            return plain(value["value"])
        if signature == rpc._special_resource_sig:
            return value["id"] if "id" in value else value["urn"]
        return {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, struct_pb2.ListValue):
        return [plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _plain_object(struct: struct_pb2.Struct) -> Properties:
    return {key: plain(struct[key]) for key in sorted(struct) if struct[key] is not None}


def _secret_keys(struct: struct_pb2.Struct) -> tuple[str, ...]:
    found = []
    for key in sorted(struct):
        value = struct[key]
        if isinstance(value, struct_pb2.Struct) and rpc._special_sig_key in value:
            found.append(key)
    return tuple(found)


class _NoCalls(mocks.Mocks):
    """Mocks that are never called: the monitor answers itself."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict]:
        return args.resource_id or args.name, args.inputs

    def call(self, args: mocks.MockCallArgs) -> tuple[dict, None]:
        return args.args, None


class RecordingMonitor(mocks.MockMonitor):
    """A resource monitor that records raw requests and answers with synthesised outputs."""

    def __init__(self, answer: Answer = synthesise, *, preview: bool = False) -> None:
        """``answer`` gives the outputs of a resource; ``preview`` leaves computed outputs unknown."""
        super().__init__(_NoCalls())
        self.answer = answer
        self.preview = preview
        self.recorded: dict[str, RecordedResource] = {}
        self.stack_outputs: Properties = {}
        self.component_outputs: dict[str, Properties] = {}
        self._guard = threading.Lock()

    def RegisterResource(self, request):  # noqa: N802 (the SDK's signature)
        """Record one registration and answer it."""
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == "pulumi:pulumi:Stack":
            return resource_pb2.RegisterResourceResponse(urn=urn)
        props = _plain_object(request.object)
        outputs = self._answer(request, props)
        identity = str(outputs.pop("id", "")) if request.custom else ""
        state = _state(request.object, props, outputs)
        resource = _recorded(request, urn, props, outputs, identity)
        with self._guard:
            if urn in self.recorded:
                msg = f"two resources have the same URN: {urn}"
                raise ValueError(msg)
            self.recorded[urn] = resource
            self.resources[urn] = mocks.MockMonitor.ResourceRegistration(urn, identity, outputs)
        return resource_pb2.RegisterResourceResponse(urn=urn, id=identity, object=state)

    def _answer(self, request, props: Properties) -> Properties:
        if not request.custom:
            return dict(props)
        outputs = dict(self.answer(request.type, request.name, props))
        return {**hidden(props, outputs), "id": ""} if self.preview else outputs

    def ReadResource(self, request):  # noqa: N802
        """Answer a read, such as of another stack's outputs, which previews know too."""
        urn = self.make_urn(request.parent, request.type, request.name)
        props = _plain_object(request.properties)
        outputs = dict(self.answer(request.type, request.name, {**props, "id": request.id}))
        outputs.pop("id", None)
        with self._guard:
            self.recorded[urn] = RecordedResource(
                urn=urn, type=request.type, name=request.name, custom=True, props=props, outputs=outputs,
                id=request.id, parent=request.parent, provider=request.provider,
            )  # fmt: skip
            self.resources[urn] = mocks.MockMonitor.ResourceRegistration(urn, request.id, outputs)
        state = struct_pb2.Struct()
        state.update(cast("dict[str, Any]", outputs))
        return resource_pb2.ReadResourceResponse(urn=urn, properties=state)

    def Invoke(self, request):  # noqa: N802
        """Refuse calls of provider functions, which no component makes; answer the engine's own."""
        if request.tok == READ_OUTPUTS:
            return resource_pb2.ResourceInvokeResponse()
        msg = f"{request.tok} was called; components take such values as arguments"
        raise RuntimeError(msg)

    def RegisterResourceOutputs(self, request):  # noqa: N802
        """Record the outputs of a component or of the stack."""
        outputs = _plain_object(request.outputs)
        if "pulumi:pulumi:Stack" in request.urn.split("::")[2].split("$")[-1]:
            self.stack_outputs = outputs
        else:
            with self._guard:
                self.component_outputs[request.urn] = outputs
        return empty_pb2.Empty()


def hidden(props: Mapping[str, object], outputs: Mapping[str, object]) -> Properties:
    """Return outputs as a preview knows them: inputs are known, computed outputs are not."""
    seen: Properties = {}
    for key, value in outputs.items():
        asked = props.get(key)
        if isinstance(value, Mapping) and isinstance(asked, Mapping):
            seen[key] = hidden(asked, value)
        else:
            seen[key] = value if key in props and asked == value else UNKNOWN
    return seen


def _state(sent: struct_pb2.Struct, props: Properties, outputs: Properties) -> struct_pb2.Struct:
    """Return the answer in wire form: the inputs as sent, with secrets, and the outputs that differ from them."""
    state = struct_pb2.Struct()
    state.CopyFrom(sent)
    changed: dict[str, Any] = {key: value for key, value in outputs.items() if key not in props or props[key] != value}
    state.update(changed)
    return state


def _recorded(request, urn: str, props: Properties, outputs: Properties, identity: str) -> RecordedResource:
    timeouts = {name: getattr(request.customTimeouts, name) for name in ("create", "update", "delete")}
    return RecordedResource(
        urn=urn,
        type=request.type,
        name=request.name,
        custom=request.custom,
        props=props,
        outputs=outputs,
        id=identity,
        parent=request.parent,
        provider=request.provider,
        dependencies=tuple(sorted(request.dependencies)),
        property_dependencies={
            key: tuple(sorted(request.propertyDependencies[key].urns)) for key in sorted(request.propertyDependencies)
        },
        protect=request.protect,
        retain_on_delete=request.retainOnDelete,
        delete_before_replace=request.deleteBeforeReplace,
        ignore_changes=tuple(request.ignoreChanges),
        replace_on_changes=tuple(request.replaceOnChanges),
        additional_secret_outputs=tuple(request.additionalSecretOutputs),
        secret_keys=_secret_keys(request.object),
        deleted_with=request.deletedWith,
        import_id=request.importId,
        aliases=tuple(alias.urn or alias.spec.name for alias in request.aliases),
        custom_timeouts={name: value for name, value in timeouts.items() if value},
    )


class _OneAtATime(set["asyncio.Future[Any]"]):
    """Pending outputs, of which the SDK sees one at a time.

    The SDK waits until any output it sees is done, then again for all that are left: with hundreds of them that is a
    quarter of a run. A failed output stays until the SDK has seen it, so no failure is missed.
    """

    def __iter__(self) -> Iterator[asyncio.Future[Any]]:
        return itertools.islice(super().__iter__(), 1)

    def clear(self) -> None:
        """Forget what was seen."""
        self.difference_update(list(self))


class _Messages(logging.Handler):
    """Keeps the program's log messages."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append((record.levelname.lower(), record.getMessage()))


def record(
    program: Program,
    *,
    stack: str = "test",
    config: Mapping[str, str] | None = None,
    secret_keys: tuple[str, ...] = (),
    answer: Answer = synthesise,
    preview: bool = False,
) -> Recording:
    """Run ``program`` as the language host would, under ``RecordingMonitor``; exceptions of the program are raised.

    Of a ``pulumi.RunError`` its cause is raised, so that callers see the type of the error.

    ``config`` is the stack's configuration as the engine passes it: full keys, values as text (objects as JSON).
    """
    monitor = RecordingMonitor(answer, preview=preview)
    messages = _Messages()

    def run() -> None:
        logger = logging.Logger("tonnage.recording", logging.WARNING)
        logger.addHandler(messages)
        pulumi.runtime.set_all_config(dict(config or {}), list(secret_keys))
        set_root_resource(cast("Any", None))
        settings = mocks.MockSettings(
            monitor=monitor,
            monitor_features=set(monitor.GetDeploymentInfo(empty_pb2.Empty()).supportedFeatures),
            engine=mocks.MockEngine(logger),
            project=PROJECT,
            stack=stack,
            dry_run=preview,
            organization=ORGANIZATION,
            outputs=_OneAtATime(),
            lock=threading.Lock(),
            package_refs={},
            base_providers_by_ref={},
            callbacks=None,
        )
        configure(settings)
        with asyncio.Runner() as runner:
            # What a failed program leaves unfinished is of no interest: its first error is raised below.
            runner.get_loop().set_exception_handler(lambda _loop, _context: None)
            runner.run(run_in_stack(program))

    _in_fresh_thread(run)
    return Recording(
        resources=tuple(monitor.recorded[urn] for urn in sorted(monitor.recorded)),
        outputs=monitor.stack_outputs,
        component_outputs=dict(sorted(monitor.component_outputs.items())),
        messages=tuple(messages.kept),
    )


def _in_fresh_thread(run: Callable[[], None]) -> None:
    """Run in a new thread, with no event loop of the caller and its own context variables."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            contextvars.Context().run(run)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=guarded, name="pulumi-program")
    thread.start()
    thread.join()
    if failures:
        failure = failures[0]
        if isinstance(failure, pulumi.RunError) and failure.__cause__ is not None:
            raise failure.__cause__
        raise failure
