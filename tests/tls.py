"""TLS in front of a server, which breaks the first answer to a POST after the server has processed the request."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from werkzeug.serving import make_ssl_devcert

from local.serving import HangUp
from tests.proxy import Proxy

_NO_RECORD = b"\x17\x03\x03\x00\x20" + bytes(32)


@contextmanager
def spoiling_tls(upstream: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Serve until the block ends; yield the address and the file of the certificate."""
    certificate, key = make_ssl_devcert(str(folder / "tls"), host="localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def break_answer(_name: str, method: str, _path: str, when: str) -> None:
        if method == "POST" and when == "after":
            proxy.gate = None
            for connection in server._server.connections:
                os.write(connection.fileno(), _NO_RECORD)
            raise HangUp

    proxy = Proxy("TLS", upstream, gate=break_answer)
    server = proxy.served()
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    with server:
        yield server.url.replace("http://127.0.0.1", "https://localhost"), certificate
