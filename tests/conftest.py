"""Fixtures for all test folders."""

from __future__ import annotations

import pytest

from tests.support.engine import Engine


@pytest.fixture
def engine() -> Engine:
    """Run components under mocks with synthesised outputs: ``engine.run(lambda: Component(...))``."""
    return Engine()
