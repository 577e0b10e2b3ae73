"""The demo: what it prints can be tried, it uses the usual ports, and nothing runs after it."""

import shlex
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from werkzeug.wrappers import Response

from local.azure_devops import sample
from local.demo import Ports, available
from local.serving import Server
from local.what_to_try import what_to_try
from model_release.__main__ import main
from model_release.app import HOME

APP = """
import azure.functions as func

app = func.FunctionApp()
@app.route("hello")
def hello(req: func.HttpRequest) -> str:
    return "hello"
"""
STARTS_SERVERS = """
import signal, sys
from pathlib import Path
from local import azurite
from local.program import functions_host

with azurite.running() as tables, functions_host({}, Path(sys.argv[1])) as host:
    print(tables, host.url, flush=True)
    signal.pause()
"""


def test_a_usual_port_in_use_is_replaced_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with Server(lambda _: Response()) as server:
        used = int(server.url.rpartition(":")[2])
        ports = available(Ports(used, 0, 0, 0, 0, 0))

    assert ports.functions_host == 0
    assert f"in use, so free ones replace them: {used}." in capsys.readouterr().out
    assert available(Ports(used, 0, 0, 0, 0, 0)).functions_host == used
    assert capsys.readouterr().out == ""


def test_each_printed_fault_happens_to_the_next_release_only() -> None:
    with Server(sample()) as server:
        releases = f"{server.url}/contoso/fraud/_apis/release/releases"
        faults = [shlex.split(line) for line in what_to_try("", server.url).splitlines() if "curl" in line]
        for fault, status in zip(faults, (429, 503, 403), strict=True):
            address, _, body = fault[-3:]
            requests.post(address, data=body, timeout=5).raise_for_status()

            answers = [requests.post(releases, json={}, auth=("", "a token"), timeout=5) for _ in range(2)]

            assert answers[0].status_code == status
            assert answers[1].status_code not in (429, 503, 403)


def test_each_printed_command_is_understood() -> None:
    printed = [shlex.split(line, comments=True) for line in what_to_try("", "").splitlines() if "-m" in line]
    commands = [(name, arguments) for _, _, _, name, *arguments in printed]

    assert len(commands) == 3
    for name, arguments in commands:
        main.commands[name].make_context(name, arguments)


def test_what_a_killed_process_started_ends(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text(APP)
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_SERVERS, str(tmp_path)], cwd=HOME, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        addresses = [url.split("/")[2].split(":") for url in process.stdout.readline().split()]
        open_ones = [socket.create_connection((host, int(port)), timeout=60) for host, port in addresses]
        process.kill()

    assert len(open_ones) == 2
    for connection in open_ones:
        # A server that ends closes its connections, or resets them.
        with connection, suppress(ConnectionResetError):
            assert connection.recv(1) == b""
