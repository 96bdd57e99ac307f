"""Reading from the model hub: where the token goes, how long is waited, how an interrupted file goes on.

The token goes to the hub's own origin and nowhere else: storage that the hub redirects to has its own signature in the
address. What may pass (429, 5xx, time-outs, resets) is waited for until the deadline; what does not is one line.
"""

from __future__ import annotations

import email.utils
import http.client
import math
import os
import random
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

HUB = "https://huggingface.co"
CHUNK_BYTES = 8 * 2**20
TIMEOUT_S = 60
MOST_REDIRECTS = 10
PASSING = {408, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524}
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 300.0
UNREACHED_S = 600.0
"""A hub that has not answered once for so long is given up: a way out that is missing does not come by waiting."""
BROKEN = (OSError, http.client.HTTPException)


class IngestError(Exception):
    """The revision cannot be copied; the message says what to do. Running again changes nothing."""


class GaveUp(IngestError):
    """The deadline came first. Running again goes on."""


class Broken(Exception):
    """A connection ended before the file did."""


class _Refused(Exception):
    """A redirect that is not followed."""


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of an address: what the token is bound to."""
    parts = urllib.parse.urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


def _told(url: str) -> str:
    """Return an address without what must not be printed: user, password, query (it may hold a signature)."""
    scheme, host, port = origin(url)
    usual = port == {"http": 80, "https": 443}.get(scheme)
    return f"{scheme}://{host}{'' if usual else f':{port}'}{urllib.parse.urlsplit(url).path}"


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MOST_REDIRECTS

    def redirect_request(  # noqa: PLR0917 - the signature of the base class
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        """Return the next request, without the token where the origin is another; never from https to http."""
        before, after = origin(req.full_url), origin(newurl)
        if after[0] not in {before[0], "https"}:
            way = f"{before[0]}://{before[1]} redirects to {after[0]}://{after[1]}"
            msg = f"{_told(req.full_url)}: {way}; limit: https; hint: check HF_ENDPOINT and the proxy on the way"
            raise _Refused(msg)
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and before != after:
            following.remove_header("Authorization")
        return following


@dataclass
class Patience:
    """How long what may pass is waited for; every wait is one line to ``say``."""

    seconds: float
    say: Callable[[str], None] = print
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    wall: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._start = self.clock()
        self._tries = 0
        self._answered = False

    def answered(self) -> None:
        """Note that the hub answers."""
        self._answered = True

    def progress(self) -> None:
        """Note that bytes came: the next wait is a short one again."""
        self._tries = 0

    def wait(self, what: str, reason: str, retry_after: str | None = None) -> None:
        """Wait before the next try; ``GaveUp`` when that would be after the deadline."""
        limit = self.seconds if self._answered else min(self.seconds, UNREACHED_S)
        left = limit - (self.clock() - self._start)
        self._tries += 1
        asked = self._asked(retry_after) or 0.0
        seconds = asked if asked >= FIRST_WAIT_S else self._backoff()
        if seconds > left:
            way_out = "run again, it goes on where it was" if self._answered else "this job needs a way out to the hub"
            msg = f"{what}: {reason}, and {seconds:.0f} s more are past the limit of {limit:.0f} s; hint: {way_out}"
            raise GaveUp(msg)
        why = "as it asks" if asked >= FIRST_WAIT_S else f"try {self._tries}"
        self.say(f"{what}: {reason}; waiting {seconds:.1f} s ({why}), given up in {left:.0f} s")
        self.sleep(seconds)

    def _backoff(self) -> float:
        most = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self._tries - 1, 20))
        return random.uniform(most / 2, most)  # noqa: S311 - so that jobs do not come back together

    def _asked(self, retry_after: str | None) -> float | None:
        """Return the seconds that a Retry-After asks for: a number or a date; None for anything else."""
        text = (retry_after or "").strip()
        try:
            seconds = float(text) if text[:1].isdigit() else email.utils.parsedate_to_datetime(text).timestamp()
            seconds -= 0 if text[:1].isdigit() else self.wall()
        except (TypeError, ValueError, OverflowError, IndexError):
            return None
        return max(0.0, seconds) if math.isfinite(seconds) else None


class Hub:
    """The hub at ``endpoint`` (HF_ENDPOINT by default), read with ``token`` (HF_TOKEN by default)."""

    def __init__(self, patience: Patience, *, endpoint: str | None = None, token: str | None = None) -> None:
        """Refuse an address or token that cannot be used, without showing the token."""
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        self._token = (token if token is not None else os.environ.get("HF_TOKEN", "")).strip()
        self.patience = patience
        parts = urllib.parse.urlsplit(self.endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            msg = f"HF_ENDPOINT: is no address of a hub; limit: http(s)://host, no user; hint: leave it out for {HUB}"
            raise IngestError(msg)
        if not self._token.isascii() or any(not sign.isprintable() or sign == " " for sign in self._token):
            msg = "HF_TOKEN: holds signs that no token has; hint: store the token alone, without quotes or line ends"
            raise IngestError(msg)
        self._opener = urllib.request.build_opener(_Redirects)

    def address(self, model: str, revision: str, path: str) -> str:
        """Return the address of a file of a revision."""
        return f"{self.endpoint}/{urllib.parse.quote(model)}/resolve/{revision}/{urllib.parse.quote(path)}"

    def open(self, url: str, what: str, *, start: int = 0) -> Any:
        """Return the answer, from byte ``start`` where the hub can; waits for what passes. ``what`` names it."""
        while True:
            try:
                answer = self._opener.open(self._request(url, start), timeout=TIMEOUT_S)
                self.patience.answered()
                return answer
            except _Refused as error:
                raise IngestError(str(error)) from None
            except urllib.error.HTTPError as error:
                with error:
                    self._refused(error, url, what)
            except BROKEN as error:
                self._unreachable(error, url, what)
            except ValueError:
                msg = f"{_told(url)}: leads to an address that cannot be read; hint: check HF_ENDPOINT"
                raise IngestError(msg) from None

    def _request(self, url: str, start: int) -> urllib.request.Request:
        headers = {"Range": f"bytes={start}-"} if start else {}
        if self._token and origin(url) == origin(self.endpoint):
            headers["Authorization"] = f"Bearer {self._token}"
        return urllib.request.Request(url, headers=headers)  # noqa: S310 - http(s) is checked above

    def _refused(self, error: urllib.error.HTTPError, url: str, what: str) -> None:
        """Wait for what may pass; ``IngestError`` with the way out for the rest."""
        self.patience.answered()
        if error.code in PASSING:
            reason = "too many requests" if error.code == 429 else "not now"
            self.patience.wait(what, f"{reason} ({error.code})", error.headers.get("Retry-After"))
            return
        msg = f"{_told(url)}: {self._reason(error)}"
        raise IngestError(msg) from None

    def _reason(self, error: urllib.error.HTTPError) -> str:
        code, place = error.code, origin(error.url or self.endpoint)
        if code == 416:
            return "shorter at the hub than it lists (416); hint: run again, the listing or the file was damaged"
        if 300 <= code < 400:
            return f"redirects in a circle, too often or nowhere ({code}); limit: {MOST_REDIRECTS} to http(s)"
        if place != origin(self.endpoint):
            return f"refused by {place[1]}, where the hub keeps it ({code}); hint: run again; let {place[1]} through"
        if code in {401, 403}:
            return self._no_access(code)
        if code == 404:
            return "no such model, revision or file (404); hint: check model and revision (a commit of that model)"
        return f"refused ({code}); hint: check model and revision"

    def _no_access(self, code: int) -> str:
        if self._token:
            way_out = "accept the licence at the hub with that account, check the model's name"
            return f"no access, the account of HF_TOKEN may not read it ({code}); hint: {way_out}"
        way_out = "accept the licence at the hub and state hubSecretArn, an entry with the property HF_TOKEN"
        return f"no access without HF_TOKEN, or no such model ({code}); hint: {way_out}"

    def _unreachable(self, error: Exception, url: str, what: str) -> None:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            msg = f"{_told(url)}: its certificate is not trusted; hint: add the proxy's certificate to the image"
            raise IngestError(msg) from None
        self.patience.wait(what, f"not reachable ({_short(cause)})")


def _short(cause: object) -> str:
    """Return what broke, in a few words and without an address."""
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return "timed out" if isinstance(cause, TimeoutError) else type(cause).__name__


class FileStream:
    """One file as a stream that outlives its connections: it goes on by Range requests until ``size`` bytes came."""

    def __init__(self, hub: Hub, url: str, what: str, size: int) -> None:
        """Open nothing yet."""
        self._hub, self._url, self._what, self.size = hub, url, what, size
        self._answer: Any = None
        self.place = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``; b"" at the end. Waits and goes on where a connection broke."""
        while self.place < self.size:
            try:
                if self._answer is None:
                    self._answer = self._open()
                chunk: bytes = self._answer.read(min(size, self.size - self.place))
                if not chunk:
                    raise Broken("ended early")
            except (*BROKEN, Broken) as error:
                self.close()
                self._hub.patience.wait(self._what, f"broke off at byte {self.place} ({_why(error)})")
                continue
            self.place += len(chunk)
            self._hub.patience.progress()
            return chunk
        return b""

    def _open(self) -> Any:
        """Return an answer that stands at ``place``; one that ignores the range is read up to there."""
        answer = self._hub.open(self._url, self._what, start=self.place)
        try:
            start, whole = _range_of(answer)
            if whole not in {None, self.size}:
                msg = f"{self._what}: {whole} bytes at the hub; limit: {self.size} bytes, as it lists; hint: run again"
                raise IngestError(msg)
            if start > self.place:
                raise Broken("another range came")
            left = self.place - start
            while left:
                skipped = len(answer.read(min(CHUNK_BYTES, left)))
                if not skipped:
                    raise Broken("ended early")
                left -= skipped
        except BaseException:
            answer.close()
            raise
        return answer

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None


def _range_of(answer: Any) -> tuple[int, int | None]:
    """Return the first byte of an answer and the bytes of the whole file, None where that is not told."""
    if answer.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range") or "")
        if found is None:
            raise Broken("an unreadable range came")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = answer.headers.get("Content-Length") or ""
    return 0, int(length) if length.isdecimal() else None


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, Broken) else _short(error)
