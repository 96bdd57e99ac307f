"""What both stand-ins share: the common calls of the provider protocol, and a gRPC server on loopback."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from rehearsal.errors import RehearsalFailed
from rehearsal.providers.wire import from_struct, to_struct

MESSAGE_LIMIT_BYTES = 400 * 1024 * 1024
"""As the engine itself sets it (sdk/go/common/util/rpcutil)."""
OPTIONS = (("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES), ("grpc.so_reuseport", 0))


class Refused(Exception):
    """A resource cannot be created or changed; the text is one line for the user."""


class StaysPending(Refused):
    """A pod that will never be placed; nothing was refused by the API server."""


class StandIn(provider_pb2_grpc.ResourceProviderServicer):
    """The calls that every provider answers alike. Method names are the protocol's."""

    name = ""
    version = "0.0.0"
    stop: Callable[[], object] = staticmethod(lambda: None)
    """Stops the server at once; set while it runs."""

    def Handshake(self, request, context):  # noqa: N802
        """Answer the engine's handshake: secrets are sent in plain, nothing is kept."""
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=False, accept_resources=False)

    def Attach(self, request, context):  # noqa: N802
        """Nothing to do: the provider never calls the engine back."""
        return empty_pb2.Empty()

    def GetPluginInfo(self, request, context):  # noqa: N802
        """Return the version of the stand-in."""
        return plugin_pb2.PluginInfo(version=self.version)

    def GetSchema(self, request, context):  # noqa: N802
        """Return an empty schema; the engine only asks for its name."""
        return provider_pb2.GetSchemaResponse(schema=f'{{"name": "{self.name}", "version": "{self.version}"}}')

    def GetMapping(self, request, context):  # noqa: N802
        """Return no mapping to other tools."""
        return provider_pb2.GetMappingResponse()

    def GetMappings(self, request, context):  # noqa: N802
        """Return no mappings to other tools."""
        return provider_pb2.GetMappingsResponse()

    def CheckConfig(self, request, context):  # noqa: N802
        """Accept the configuration of the provider as it is; kubeconfig and credentials are never used."""
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request, context):  # noqa: N802
        """Report a changed provider configuration as an update, never as a replacement."""
        changed = from_struct(request.old_inputs) != from_struct(request.news)
        kind = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=kind)

    def Configure(self, request, context):  # noqa: N802
        """Accept; previews are answered by the provider, secrets are not."""
        return provider_pb2.ConfigureResponse(acceptSecrets=False, supportsPreview=True, acceptResources=False)

    def Invoke(self, request, context):  # noqa: N802
        """Refuse: no component calls functions of a provider."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{request.tok}: the stack calls no functions of the cloud")

    def Cancel(self, request, context):  # noqa: N802
        """Nothing runs that would have to be cancelled; waits look at ``context`` themselves."""
        return empty_pb2.Empty()

    def Check(self, request, context):  # noqa: N802
        """Accept the inputs as they are."""
        return provider_pb2.CheckResponse(inputs=to_struct(from_struct(request.news)))


def urn_parts(urn: str) -> tuple[str, str]:
    """Return (type token, logical name) of a URN."""
    parts = urn.split("::")
    return parts[2].rpartition("$")[2], "::".join(parts[3:])


def suffix(urn: str, length: int = 8) -> str:
    """Return hexadecimal digits that depend on the URN alone, where the real provider draws random ones."""
    return hashlib.sha256(urn.encode()).hexdigest()[:length]


def refuse(context: grpc.ServicerContext, message: str) -> None:
    """End the call with an error that the engine prints unchanged."""
    context.abort(grpc.StatusCode.UNKNOWN, " ".join(message.split()))


@contextmanager
def serve(stand_in: StandIn) -> Iterator[int]:
    """Serve a provider on a free loopback port and yield the port; stops on leaving."""
    pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix=stand_in.name)
    server = grpc.server(pool, options=OPTIONS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(stand_in, server)
    try:
        port = server.add_insecure_port("127.0.0.1:0")
    except RuntimeError as error:
        raise RehearsalFailed(f"{stand_in.name} stand-in", f"no free port on loopback: {error}") from error
    server.start()
    stand_in.stop = lambda: server.stop(0)
    try:
        yield port
    finally:
        server.stop(0).wait()
        pool.shutdown(wait=False, cancel_futures=True)
