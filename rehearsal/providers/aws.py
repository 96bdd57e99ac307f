"""AWS stand-in: records every resource and answers with the outputs that AWS would compute.

Outputs come from ``infra.provider_outputs``, which the offline preview uses as well. ``Fault`` injects a failure: an
error for one resource, or the death of the provider in the middle of the run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2

from infra.provider_outputs import synthesise
from infra.providers import CALLER_IDENTITY
from rehearsal.providers.base import StandIn, refuse, urn_parts
from rehearsal.providers.wire import changed_keys, from_struct, has_unknown, to_struct

NAMING = ("name", "bucket", "nodeGroupName", "addonName", "clusterName", "cidrBlock", "availabilityZoneId")
"""Inputs that AWS cannot change in place; a change replaces the resource (EC2, EKS and S3 API references)."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An injected failure: at the ``after``-th creation (from 1), answer with an error or die."""

    kind: Literal["error", "die"]
    after: int


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One AWS resource that was created and not deleted."""

    type: str
    name: str
    urn: str
    id: str
    inputs: Mapping[str, Any]


Observer = Callable[[Recorded], None]


class AwsStandIn(StandIn):
    """Records resources; ``created`` and ``deleted`` are called with each, for instance to make nodes."""

    name = "aws"
    version = "7.51.0"

    def __init__(
        self,
        *,
        created: Observer | None = None,
        deleted: Observer | None = None,
        fault: Fault | None = None,
        caller: str = "",
    ) -> None:
        """``caller`` is the ARN that STS would name; without one the question is refused."""
        self.caller = caller
        self._created = created
        self._deleted = deleted
        self._fault = fault
        self._lock = threading.Lock()
        self._resources: dict[tuple[str, str], Recorded] = {}
        self._creations = 0

    @property
    def resources(self) -> tuple[Recorded, ...]:
        """What exists now, sorted by URN."""
        with self._lock:
            return tuple(sorted(self._resources.values(), key=lambda one: one.urn))

    def Invoke(self, request, context):  # noqa: N802
        """Say who calls; nothing else is asked of the cloud."""
        if request.tok != CALLER_IDENTITY or not self.caller:
            return super().Invoke(request, context)
        answer = provider_pb2.InvokeResponse()
        getattr(answer, "return").CopyFrom(to_struct({"arn": self.caller}))
        return answer

    def Diff(self, request, context):  # noqa: N802
        """Compare inputs; names and addresses replace, everything else is changed in place."""
        paths = changed_keys(from_struct(request.old_inputs), from_struct(request.news))
        keys = sorted({path.partition(".")[0] for path in paths})
        kind = provider_pb2.DiffResponse.DIFF_SOME if paths else provider_pb2.DiffResponse.DIFF_NONE
        replaces = [key for key in keys if key in NAMING]
        return provider_pb2.DiffResponse(changes=kind, diffs=keys, replaces=replaces)

    def Create(self, request, context):  # noqa: N802
        """Record the resource; during preview nothing but the inputs is known."""
        inputs = from_struct(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(properties=to_struct(inputs))
        self._maybe_fail(request.urn, context)
        outputs, identity = self._outputs(request.urn, inputs)
        token, name = urn_parts(request.urn)
        recorded = Recorded(type=token, name=name, urn=request.urn, id=identity, inputs=inputs)
        with self._lock:
            self._resources[request.urn, identity] = recorded
        if self._created:
            self._created(recorded)
        return provider_pb2.CreateResponse(id=identity, properties=to_struct(outputs))

    def Read(self, request, context):  # noqa: N802
        """Return the resource as recorded; gone when it is not."""
        with self._lock:
            recorded = self._resources.get((request.urn, request.id))
        if recorded is None:
            return provider_pb2.ReadResponse()
        outputs, _ = self._outputs(request.urn, recorded.inputs)
        return provider_pb2.ReadResponse(
            id=request.id, properties=to_struct(outputs), inputs=to_struct(dict(recorded.inputs))
        )

    def Update(self, request, context):  # noqa: N802
        """Record the new inputs."""
        inputs = from_struct(request.news)
        if request.preview and has_unknown(inputs):
            return provider_pb2.UpdateResponse(properties=to_struct(inputs))
        outputs, _ = self._outputs(request.urn, inputs)
        token, name = urn_parts(request.urn)
        if not request.preview:
            with self._lock:
                known = Recorded(type=token, name=name, urn=request.urn, id=request.id, inputs=inputs)
                self._resources[request.urn, request.id] = known
        return provider_pb2.UpdateResponse(properties=to_struct(outputs))

    def Delete(self, request, context):  # noqa: N802
        """Forget the resource; one that was never recorded is an error."""
        with self._lock:
            recorded = self._resources.pop((request.urn, request.id), None)
        if recorded is None:
            refuse(context, f"{request.urn}: does not exist")
        elif self._deleted:
            self._deleted(recorded)
        return empty_pb2.Empty()

    def _outputs(self, urn: str, inputs: Mapping[str, object]) -> tuple[dict[str, object], str]:
        token, name = urn_parts(urn)
        outputs = dict(synthesise(token, name, inputs))
        return outputs, str(outputs.pop("id"))

    def _maybe_fail(self, urn: str, context) -> None:
        with self._lock:
            self._creations += 1
            due = self._fault is not None and self._creations == self._fault.after
        if not due or self._fault is None:
            return
        if self._fault.kind == "error":
            refuse(context, f"creating {urn_parts(urn)[0]}: InsufficientInstanceCapacity")
        self.stop()
        time.sleep(0.5)
