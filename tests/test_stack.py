"""The way from the event to the POST is short enough to read."""

import sys
import threading
from types import FrameType
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from model_release.app import HOME
from tests.environment import BOTH, Environment, event

DEEPEST = 6
PRODUCT = str(HOME / "model_release")
# Each traced function has a frame of its own for the span.
SPANS = str(HOME / "model_release/tracing.py")
SDK = "/site-packages/azure/devops/"


class Watcher:
    """An Azure DevOps that notes the product's stack of the thread that sent a POST."""

    def __init__(self, azure_devops: Any, thread: int) -> None:
        self.azure_devops, self.thread = azure_devops, thread
        self.stack: list[str] = []

    def __call__(self, request: Request) -> Response:
        if request.method == "POST":
            self.stack = _names(sys._current_frames()[self.thread])
        return self.azure_devops(request)


@BOTH
def test_the_stack_from_the_event_to_the_post_is_at_most_six_deep(
    env: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    watcher = Watcher(env.azure_devops, threading.get_ident())
    env.azure_devops = watcher

    env.registered(event())

    with capsys.disabled():
        sys.stdout.write(f"\n{len(watcher.stack)} deep for a {env.target}: {' > '.join(watcher.stack)}\n")
    assert watcher.stack[0] == "StartRelease.registered"
    assert len(watcher.stack) <= DEEPEST


def _names(frame: FrameType | None) -> list[str]:
    names = []
    while frame:
        file = frame.f_code.co_filename
        if SDK in file:
            # What is below the SDK is its transport, which calls the product back to check the server.
            names.clear()
        elif file.startswith(PRODUCT) and file != SPANS:
            names.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return names[::-1]
