"""The local webhook answers each recorded request as Microsoft's Event Grid extension did."""

import json
import threading
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
import requests

from local.functions_host import FunctionsHost
from local.serving import Server

# Recorded with Microsoft.Azure.WebJobs.Extensions.EventGrid 3.3.0 in a WebJobs host whose time zone was UTC.
RECORDING = json.loads((Path(__file__).parent / "recorded" / "event_grid_extension_3.3.0.json").read_text())
# That host names a function `model_registered`; the Functions host puts its own prefix before it.
NAME_IN_THE_RECORDING, NAME_IN_THE_FUNCTIONS_HOST = "function: model_registered", "function: Functions.model_registered"
OF_THE_SERVER = {"connection", "content-length", "content-type", "date", "server"}


class EventsApp:
    """The recorded functions: a call goes on when `together` calls run, a slow one when all others have ended."""

    def __init__(self, together: int) -> None:
        self.given: list[str] = []
        self.ended: list[str] = []
        self._together = together
        self._all_running = threading.Barrier(max(together, 1))
        self._changed = threading.Condition()
        self.app = func.FunctionApp()

        @self.app.event_grid_trigger(arg_name="event")
        def model_registered(event: str) -> None:
            self._called_with(event)

        @self.app.event_grid_trigger(arg_name="event", data_type=func.DataType.STRING)
        def as_string(event: str) -> None:
            self._called_with(event)

        @self.app.event_grid_trigger(arg_name="events", cardinality="many")
        def many(events: str) -> None:
            self._called_with(events)

    def _called_with(self, text: str) -> None:
        self.given.append(text)
        self._all_running.wait(10)
        with self._changed:
            if '"t":"slow"' in text:
                assert self._changed.wait_for(lambda: len(self.ended) == self._together - 1, 10)
            self.ended.append(text)
            self._changed.notify_all()
        if '"t":"fail"' in text:
            raise ValueError("no room")


@pytest.mark.parametrize("recorded", RECORDING, ids=[recorded["case"] for recorded in RECORDING])
def test_a_recorded_request_is_answered_as_the_extension_answered_it(recorded: dict[str, Any]) -> None:
    events = EventsApp(recorded["most_at_once"])
    host = FunctionsHost(events.app)
    with host, Server(host) as server:
        request = recorded["request"]
        url = f"{server.url}/runtime/webhooks/EventGrid{request['query']}"
        body = None if request["body"] is None else request["body"].encode()
        answer = requests.request(request["method"], url, data=body, headers=request["headers"], timeout=20)

    # Where the extension raised, the Functions host answers 500 without content.
    expected = {"status": 500, "body": "", "headers": {}} if "raises" in recorded["answer"] else recorded["answer"]
    assert {
        "status": answer.status_code,
        "body": answer.text.replace(NAME_IN_THE_FUNCTIONS_HOST, NAME_IN_THE_RECORDING),
        "headers": {name: value for name, value in answer.headers.items() if name.lower() not in OF_THE_SERVER},
        "content_type": answer.headers.get("Content-Type"),
    } == {"content_type": None, **expected}
    assert sorted(events.given) == sorted(recorded["events"])
    assert len(events.ended) == len(events.given)


def test_the_recording_is_complete() -> None:
    assert len(RECORDING) == 63
