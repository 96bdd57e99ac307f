import signal

import pytest

from rehearsal.control_plane.processes import ControlPlane
from rehearsal.process import Supervisor
from rehearsal.tools import ensure_tools


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """A shell has what it starts in the background ignore Ctrl-C, and so would every command that a test starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def toolbox():
    """The pinned tools, built if need be (minutes, once)."""
    return ensure_tools(print)


@pytest.fixture(scope="module")
def control_plane(toolbox):
    """A running control plane, shared by the tests of one file."""
    with Supervisor() as supervisor, ControlPlane(toolbox, supervisor) as running:
        yield running
