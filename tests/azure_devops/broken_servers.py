"""Servers that do not answer as they should, and the plain words for each."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from werkzeug.serving import make_ssl_devcert
from werkzeug.wrappers import Request, Response

from local.serving import HangUp, Server

BrokenServer = Callable[[Path], AbstractContextManager[str]]


@contextmanager
def refusing(_: Path) -> Iterator[str]:
    with Server(lambda _request: Response()) as closed:
        url = closed.url
    yield url


@contextmanager
def unknown_host(_: Path) -> Iterator[str]:
    yield "https://azure.invalid"


@contextmanager
def not_accepting(_: Path) -> Iterator[str]:
    """Fill the queue of a socket that accepts no connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        clients = [socket.socket() for _ in range(2)]
        for client in clients:
            client.settimeout(0)
            client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for client in clients:
            client.close()


@contextmanager
def resetting(_: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_reset_all, args=(server,), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def _reset_all(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def answering(answer: Callable[[Request], Response]) -> BrokenServer:
    @contextmanager
    def serve(_: Path) -> Iterator[str]:
        with Server(answer) as server:
            yield server.url

    return serve


def hang_up(sent: bytes = b"") -> Callable[[Request], Response]:
    def answer(_: Request) -> Response:
        raise HangUp(sent)

    return answer


def late(_: Request) -> Response:
    time.sleep(1)
    return Response()


@contextmanager
def untrusted(folder: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_ssl_devcert(str(folder / "tls"), host="localhost"))
    server = Server(lambda _: Response())
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    with server:
        yield server.url.replace("http://127.0.0.1", "https://localhost")


@contextmanager
def without_tls(_: Path) -> Iterator[str]:
    with Server(lambda _request: Response()) as server:
        yield server.url.replace("http", "https")


REFUSED = (refusing, "connection refused")
UNKNOWN_HOST = (unknown_host, "host name not found")
NOT_ACCEPTING = (not_accepting, "connection timed out")
LATE = (answering(late), "no answer within 0.5 s")
RESET = (resetting, "connection closed before the answer")
CLOSED = (answering(hang_up()), "connection closed before the answer")
CUT_OFF = (
    answering(hang_up(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")),
    "connection closed before the end of the answer",
)
UNTRUSTED = (untrusted, "the TLS certificate is not trusted (self-signed certificate)")
WITHOUT_TLS = (without_tls, "TLS failure")
