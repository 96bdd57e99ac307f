"""Fixtures for all test folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from infra.sdk import load_only_what_is_named

if TYPE_CHECKING:
    from tests.support.engine import Engine

# A clock decides nothing: a loaded machine is slow to draw its first input, and that says nothing of the code.
settings.register_profile("tonnage", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tonnage")

load_only_what_is_named()  # before any test file names a component


@pytest.fixture
def engine() -> Engine:
    """Run components under mocks with synthesised outputs: ``engine.run(lambda: Component(...))``."""
    from tests.support.engine import Engine

    return Engine()
