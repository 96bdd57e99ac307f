"""Names cut to the length that AWS allows, told apart by a digest."""

from __future__ import annotations

import hashlib

MOST_BUCKET_NAME = 63
MOST_ROLE_NAME = 64
MOST_NODE_GROUP_NAME = 63
"""Characters that S3, IAM and EKS allow (their API references)."""

DIGEST = 8
"""Hexadecimal digits of a SHA-256 that tell cut names apart."""


def digest(text: str) -> str:
    """Return the digits that stand for ``text`` in a name."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST]


def with_digest(head: str, of: str, limit: int) -> str:
    """Return ``head`` and the digest of ``of``, at most ``limit`` characters: the head is cut, the digest never."""
    return f"{head[: limit - DIGEST - 1]}-{digest(of)}"


def at_most(name: str, limit: int) -> str:
    """Return ``name`` as it is where ``limit`` characters hold it, else its beginning with the digest of the whole."""
    return name if len(name) <= limit else with_digest(name, name, limit)
