"""A local server that is stopped keeps its port, and answers again once it is started."""

import socket
from argparse import ArgumentTypeError

import pytest
import requests
from werkzeug.wrappers import Response

from local.serving import Server, free_port, is_free


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


def test_a_port_in_use_is_refused_as_an_option() -> None:
    with Server(lambda _: Response()) as server:
        port = server.url.rpartition(":")[2]
        assert not is_free(int(port))
        for text in (port, "99999", "a"):
            with pytest.raises(ArgumentTypeError, match=f"{text} is in use or not a port"):
                free_port(text)

    assert free_port(port) == int(port)
