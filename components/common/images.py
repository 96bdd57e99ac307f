"""Where images come from: Docker Hub, or a registry that serves its images (a pull-through cache)."""

from __future__ import annotations

DOCKER_HUB = "docker.io"


def mirrored(image: str, mirror: str | None) -> str:
    """Return ``image`` from ``mirror`` where it is one of Docker Hub, whose limit all nodes behind a NAT share.

    Without a mirror, or from another registry, it stays as it is; tag and digest stay in any case.
    """
    host, slash, rest = image.partition("/")
    if mirror is None or (slash and host != DOCKER_HUB and ("." in host or ":" in host)):
        return image
    path = rest if host == DOCKER_HUB else image
    return f"{mirror}/{path}" if "/" in path else f"{mirror}/library/{path}"
