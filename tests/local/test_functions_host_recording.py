"""The local Functions host answers each recorded request as the real host did, but for a list with reasons."""

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.functions_host import FunctionsHost
from local.functions_keys import Keys
from local.serving import Server
from tests.local.recorded_app import Seen, recorded_app

# Recorded with host 4.1037.0 and Microsoft's Python worker 4.34.0, set up as on the Flex Consumption plan. A text that
# repeats a character is a list of texts and of [character, number].
RECORDING = json.loads((Path(__file__).parent / "recorded" / "functions_host_4.1037.json").read_text())
KEYS = {"%FUNCTION%": "function-key", "%HOST%": "host-key", "%SYSTEM%": "system-key", "%MASTER%": "master-key"}
HTTP = {
    "routePrefix": "api",
    "hsts": {"isEnabled": True, "maxAge": "365"},
    "customHeaders": {"X-Content-Type-Options": "nosniff"},
}
NOT_COMPARED = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
SHORTENED = re.compile(r"(.*)… \((\d+) characters\)", re.DOTALL)

DIFFERENT = {
    "home": "The page of the real host has 150 kB; this one has its title.",
    "key: the master key in the header at host status": "The real host adds its build, its instance and its uptime.",
    "key: the master key in the query at host status": "The real host adds its build, its instance and its uptime.",
    "admin: GET /admin/functions ": "The real host adds the addresses of files that it can show.",
    "admin: GET /admin/functions/tick ": "The real host adds the addresses of files that it can show.",
    "admin: GET /admin/host/config ": "The real host shows the settings of its concurrency, which this one lacks.",
}
NOT_SENT = {
    "worker gone": "The functions run in the process of the host, which would end with them.",
    "after the worker was gone": "The functions run in the process of the host, which would end with them.",
}


@dataclass
class RecordedHost:
    """The host with the recorded app, and what the functions were given."""

    port: int
    seen: Seen

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    def send(self, recorded: dict[str, Any]) -> dict[str, Any]:
        self.seen.clear()
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(self._message(recorded))
            if recorded["case"] == "body shorter than said":
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(65536):
                answer += part
        head, _, body = answer.removeprefix(INTERIM).partition(b"\r\n\r\n")
        status, *headers = head.decode("latin-1").split("\r\n")
        return {
            "status": ([*status.split(" "), ""])[1],
            "headers": dict(header.split(": ", 1) for header in headers),
            "length": len(body),
            "body": body[:600].decode("utf-8", "backslashreplace").replace(self.name, "HOST"),
            "seen": [_plain(given, self.name) for given in self.seen],
        }

    def _message(self, recorded: dict[str, Any]) -> bytes:
        body = _text(recorded["body"])
        lines = [f"{recorded['method']} {_text(recorded['target'])} HTTP/1.1"]
        if not recorded.get("no_host"):
            lines.append(f"Host: {recorded.get('host', self.name)}")
        lines += [f"{name}: {_text(value)}" for name, value in recorded["headers"].items()]
        if (body or recorded["method"] in ("POST", "PUT", "PATCH")) and not recorded.get("no_length"):
            lines.append(f"Content-Length: {len(body)}")
        lines.append("Connection: close\r\n")
        return ("\r\n".join(lines) + recorded.get("raw", "") + "\r\n" + body).encode("latin-1")


def _text(packed: str | list[Any]) -> str:
    text = packed if isinstance(packed, str) else "".join(p if isinstance(p, str) else p[0] * p[1] for p in packed)
    for name, value in KEYS.items():
        text = text.replace(name, value)
    return text


def _plain(given: dict[str, Any], host: str) -> dict[str, Any]:
    """Leave out what depends on the connection, as the recording does."""
    given = {name: value for name, value in given.items() if name != "all"}
    if "url" in given:
        given["url"] = given["url"].replace(host, "HOST")
        usual = {"connection": "close", "host": host}
        given["headers"] = {name: text for name, text in given["headers"].items() if usual.get(name) != text}
    return given


def _as_recorded(recorded: Any, value: Any) -> Any:
    """Return the recorded value if it is this value shortened, otherwise this value."""
    if isinstance(recorded, dict) and isinstance(value, dict):
        return {name: _as_recorded(recorded.get(name), item) for name, item in value.items()}
    if isinstance(recorded, list) and isinstance(value, list) and len(recorded) == len(value):
        return [_as_recorded(theirs, ours) for theirs, ours in zip(recorded, value, strict=True)]
    shortened = isinstance(recorded, str) and isinstance(value, str) and SHORTENED.fullmatch(recorded)
    if shortened and value.startswith(shortened[1]) and len(value) == int(shortened[2]):
        return recorded
    return value


def _comparable(answer: dict[str, Any], seen: Seen) -> dict[str, Any]:
    headers = {name.lower(): value.replace(" ", "").lower() for name, value in answer["headers"].items()}
    # These functions answer with what they were given, which is compared; gzip writes the time.
    echoed = {given["function"] for given in seen} & {"echo", "files", "anything"}
    has_time = "content-encoding" in headers
    return {
        "status": answer["status"],
        "headers": {name: value for name, value in headers.items() if name not in NOT_COMPARED},
        "length": None if echoed or "HOST" in answer["body"] else answer["length"],
        "body": None if echoed or has_time else answer["body"],
        "seen": sorted((_plain(given, "HOST") for given in seen), key=lambda given: str(given.get("id"))),
    }


@pytest.fixture(scope="module")
def recorded_host() -> Iterator[RecordedHost]:
    seen: Seen = []
    keys = Keys(function="function-key", host="host-key", system="system-key", master="master-key")
    host = FunctionsHost(recorded_app(seen), key=keys, http=HTTP)
    with host, Server(host) as server:
        yield RecordedHost(urlsplit(server.url).port or 0, seen)


def _pair(host: RecordedHost, recorded: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    answer = host.send(recorded)
    theirs = _comparable(recorded["answer"], recorded["seen"])
    return _as_recorded(theirs, _comparable(answer, answer["seen"])), theirs


@pytest.mark.parametrize(
    "recorded", [pytest.param(case, id=case["case"]) for case in RECORDING if case["case"] not in DIFFERENT | NOT_SENT]
)
def test_a_recorded_request_is_answered_as_the_real_host_answered_it(
    recorded_host: RecordedHost, recorded: dict[str, Any]
) -> None:
    ours, theirs = _pair(recorded_host, recorded)

    assert ours == theirs


@pytest.mark.parametrize(
    "recorded", [pytest.param(case, id=case["case"]) for case in RECORDING if case["case"] in DIFFERENT]
)
def test_what_is_listed_as_different_differs(recorded_host: RecordedHost, recorded: dict[str, Any]) -> None:
    ours, theirs = _pair(recorded_host, recorded)

    assert ours != theirs


def test_at_least_250_of_the_268_recorded_requests_are_alike() -> None:
    listed = DIFFERENT.keys() | NOT_SENT.keys()

    assert len(RECORDING) == 268
    assert listed <= {case["case"] for case in RECORDING}
    assert len(RECORDING) - len(listed) >= 250
