"""TLS in front of a server, which spoils the first answer to a POST after the server has done what was asked."""

from __future__ import annotations

import os
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import requests
from werkzeug.serving import make_ssl_devcert

_NO_RECORD = b"\x17\x03\x03\x00\x20" + bytes(32)


class SpoilingTls:
    """A context manager that serves at `url` what `upstream` answers, with a certificate of its own."""

    def __init__(self, upstream: str, folder: Path) -> None:
        certificate, key = make_ssl_devcert(str(folder / "tls"), host="localhost")
        self.certificate = certificate
        self.spoils = True
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = requests.request(self.command, upstream + self.path, data=body, headers=dict(self.headers))
                if self.command == "POST" and front.spoils:
                    front.spoils = False
                    os.write(self.connection.fileno(), _NO_RECORD)
                    self.close_connection = True
                    return
                self.send_response(answer.status_code)
                self.send_header("Content-Type", answer.headers["Content-Type"])
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_OPTIONS = do_POST = forward  # noqa: N815  the names that http.server calls

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self.url = f"https://localhost:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
