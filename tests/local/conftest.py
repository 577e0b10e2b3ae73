from collections.abc import Iterator

import pytest

from local.functions_host import FunctionsHost
from local.serving import Server
from tests.local.recording_app import RecordingApp


@pytest.fixture
def recording() -> RecordingApp:
    return RecordingApp()


@pytest.fixture
def url(recording: RecordingApp) -> Iterator[str]:
    """Serve the recording app without a key."""
    host = FunctionsHost(recording.app)
    with host, Server(host) as server:
        yield server.url


@pytest.fixture
def url_with_key(recording: RecordingApp) -> Iterator[str]:
    """Serve the recording app with the key `secret`."""
    host = FunctionsHost(recording.app, key="secret")
    with host, Server(host) as server:
        yield server.url
