"""Files of the Hugging Face Hub: small JSON files, and the headers of safetensors files by range requests.

Uses the environment variables of the Hub's own client: ``HF_ENDPOINT``, ``HF_TOKEN``. Limited are the bytes read, the
redirects (never to http from https, and the token is sent to its own host only) and the time of a lookup. ``OSError``
means that the Hub did not answer; an invalid file is BadInput.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPMessage
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from cli.adapters.files import MIB, parse_json_object
from sizing.errors import BadInput

if TYPE_CHECKING:
    from sizing.models.checkpoint import Checkpoint
    from sizing.models.safetensors_header import Tensor

CONFIG_LIMIT_BYTES = MIB
INDEX_LIMIT_BYTES = 64 * MIB
FIRST_RANGE_BYTES = MIB // 4
"""Size of the first range request: most headers are shorter, so one request is enough."""
REQUEST_TIMEOUT_S = 5
LOOKUP_TIMEOUT_S = 15
"""For the headers of all files together; after it only the index is used."""
MOST_SHARDS = 200
AT_ONCE = 8

Found = TypeVar("Found")


class _Redirects(HTTPRedirectHandler):
    """Follow redirects to https (http only from http), without the token on another host."""

    def redirect_request(  # noqa: PLR0917 - the signature of the base class
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """Return the next request; OSError for an address that is not allowed."""
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if after.scheme not in {before.scheme, "https"}:
            raise ConnectionError(f"redirected to {after.scheme or 'no'} address")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and before.netloc != after.netloc:
            following.remove_header("Authorization")
        return following


def within(seconds: float, call: Callable[[], Found]) -> Found:
    """Return what ``call`` returns or raise what it raises; TimeoutError after ``seconds``, whatever it waits for."""
    answers: queue.Queue[tuple[bool, Any]] = queue.Queue()

    def run() -> None:
        try:
            answers.put((True, call()))
        except BaseException as error:  # raised again in the caller's thread
            answers.put((False, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        good, found = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if not good:
        raise found
    result: Found = found
    return result


def fetch_json(name: str, file: str, limit_bytes: int) -> Mapping[str, Any]:
    """Return one JSON file of the main revision; OSError when the Hub cannot be reached or refuses."""
    content = within(2 * REQUEST_TIMEOUT_S, lambda: _get(name, file, limit_bytes + 1)[0])
    return parse_json_object(content, f"MODEL: {name}/{file}", limit_bytes=limit_bytes)


def _get(name: str, file: str, limit_bytes: int, *, ranged: bool = False) -> tuple[bytes, int]:
    """Return up to ``limit_bytes`` from the start of a file, and the length of the whole file (0: not said)."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if not endpoint.startswith(("https://", "http://")):
        raise BadInput("HF_ENDPOINT", f"{endpoint!r} is not an http or https address")
    token = os.environ.get("HF_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if ranged:
        headers["Range"] = f"bytes=0-{limit_bytes - 1}"
    request = Request(f"{endpoint}/{name}/resolve/main/{quote(file)}", headers=headers)  # noqa: S310 - checked above
    deadline = time.monotonic() + LOOKUP_TIMEOUT_S
    content = bytearray()
    try:
        with build_opener(_Redirects).open(request, timeout=REQUEST_TIMEOUT_S) as answer:
            while len(content) < limit_bytes and (part := answer.read1(min(MIB, limit_bytes - len(content)))):
                content += part
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{file} took longer than {LOOKUP_TIMEOUT_S} s")
            return bytes(content), _whole_length(answer.status, answer.headers)
    except (HTTPException, ValueError) as error:
        raise ConnectionError(str(error)) from error


def _whole_length(status: int, headers: Mapping[str, str]) -> int:
    """Return the length of the file: after the slash of Content-Range, or Content-Length of a whole answer."""
    length = headers.get("Content-Range", "").rpartition("/")[2] if status == 206 else headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and len(length) < 20 else 0


def fetch_tensors(name: str, file: str) -> tuple[Tensor, ...]:
    """Return the tensors of a safetensors file from its header, read by range."""
    from sizing.models.safetensors_header import LENGTH_BYTES, header_length, parse_header

    content, whole = _get(name, file, FIRST_RANGE_BYTES, ranged=True)
    if not whole:
        raise ConnectionError(f"the length of {file} is not told")
    end = LENGTH_BYTES + header_length(file, content[:LENGTH_BYTES], whole)
    if end > len(content):
        content, whole = _get(name, file, end, ranged=True)
    if end > len(content):
        raise ConnectionError(f"the header of {file} is cut")
    return parse_header(file, content[LENGTH_BYTES:end], whole - end)


def fetch_checkpoint(name: str, *, tied: bool) -> Checkpoint | None:
    """Return the contents of the checkpoint: from the headers, else from the index; None when the Hub has neither."""
    from sizing.models.checkpoint import INDEX, SINGLE, checkpoint_of, complete, from_index, weight_map

    try:
        index = fetch_json(name, INDEX, INDEX_LIMIT_BYTES)
    except OSError:
        with contextlib.suppress(OSError):
            return checkpoint_of(within(LOOKUP_TIMEOUT_S, lambda: fetch_tensors(name, SINGLE)), tied=tied)
        return None
    files = sorted(set(weight_map(index).values()))
    if 0 < len(files) <= MOST_SHARDS:
        with contextlib.suppress(OSError):
            tensors = within(LOOKUP_TIMEOUT_S, lambda: _all_tensors(name, files))
            return checkpoint_of(complete(tensors, index), tied=tied)
    return from_index(index)


def _all_tensors(name: str, files: list[str]) -> list[Tensor]:
    """Read the headers of ``files``, several at once; the first error ends it."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    answers: queue.Queue[tuple[str, Any]] = queue.Queue()
    for file in files:
        waiting.put(file)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                file = waiting.get_nowait()
                try:
                    answers.put((file, fetch_tensors(name, file)))
                except Exception as error:  # raised again in the caller's thread
                    answers.put((file, error))

    for _ in range(min(AT_ONCE, len(files))):
        threading.Thread(target=work, daemon=True).start()
    found: dict[str, tuple[Tensor, ...]] = {}
    for _ in files:
        try:
            file, tensors = answers.get(timeout=LOOKUP_TIMEOUT_S)
        except queue.Empty:
            raise TimeoutError(f"no answer within {LOOKUP_TIMEOUT_S} s") from None
        if isinstance(tensors, Exception):
            raise tensors
        found[file] = tensors
    return [tensor for file in files for tensor in found[file]]
