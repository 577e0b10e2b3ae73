"""A local server that is stopped keeps its port, and answers again once it is started."""

import socket

import pytest
import requests
from werkzeug.wrappers import Response

from local.serving import Server


def test_a_stopped_server_refuses_connections_and_keeps_its_port() -> None:
    with Server(lambda _: Response("answered")) as server:
        port = int(server.url.rpartition(":")[2])
        for _ in range(3):
            server.stop()
            with pytest.raises(requests.ConnectionError, match="refused"):
                requests.get(server.url, timeout=5)
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))

            server.start()
            assert requests.get(server.url, timeout=5).text == "answered"


def test_a_server_that_ends_gives_its_port_back() -> None:
    with Server(lambda _: Response()) as server:
        server.stop()

    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(server.url.rpartition(":")[2])))
