"""Answer HTTP requests on this machine, with one thread for each connection and connections kept alive."""

from __future__ import annotations

import socket
import threading
from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress
from http.server import ThreadingHTTPServer
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self

from werkzeug.serving import WSGIRequestHandler
from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_WITHOUT_CONTENT = (204, 304)
Application = Callable[[Request], Response]


class HangUp(Exception):  # noqa: N818  not an error: an application raises it to act like a broken server
    """Close the connection after sending these raw bytes, if any."""

    def __init__(self, sent: bytes = b"") -> None:
        super().__init__(sent)
        self.sent = sent


class _Handler(WSGIRequestHandler):
    # Werkzeug reads requests, chunked ones and those of any method too. Its own server closes each connection.
    protocol_version = "HTTP/1.1"
    # Status, headers and body leave in one packet: separate packets wait 40 ms for an acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    application: Application

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        try:
            body = self._body(environ)
        except (ValueError, OSError):
            self.send_error(400)
            return
        except EOFError:
            self.close_connection = True
            return
        request = Request({**environ, "wsgi.input": BytesIO(body), "wsgi.input_terminated": True})
        try:
            self._send(type(self).application(request))
        except HangUp as hang_up:
            self.wfile.write(hang_up.sent)
            self.wfile.flush()
            self.close_connection = True

    def _body(self, environ: WSGIEnvironment) -> bytes:
        if environ.get("wsgi.input_terminated"):
            return bytes(environ["wsgi.input"].read())
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length < 0:
            raise ValueError("the content length is negative")
        body = self.rfile.read(length)
        if len(body) < length:
            raise EOFError
        return body

    def _send(self, response: Response) -> None:
        content = response.get_data()
        self.send_response(response.status_code)
        response.headers["Content-Length"] = str(len(content))
        for name, value in response.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and response.status_code not in _WITHOUT_CONTENT:
            self.wfile.write(content)

    def send_error(self, code: int, *_: Any) -> None:
        """Refuse a request that cannot be read, without content."""
        # Without a version that can be read, nothing would be sent.
        self.request_version = self.protocol_version
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def handle_expect_100(self) -> bool:
        """Let the client send the body."""
        asked = super().handle_expect_100()
        self.wfile.flush()
        return asked

    def log(self, *_: Any) -> None:
        """Print nothing: the user of a server prints what matters."""

    def log_request(self, *_: Any) -> None:
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    # Werkzeug's handler asks for these.
    ssl_context, multithread, multiprocess, _server_version = None, True, False, "local"

    def __init__(self, address: Any, handler: type[_Handler], bound: socket.socket | None = None) -> None:
        """Listen at the address, on the socket that is bound to it already if there is one."""
        super().__init__(address, handler, bind_and_activate=bound is None)
        if bound:
            self.socket.close()
            self.socket = bound
            self.server_activate()
        self.connections: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: Any) -> None:
        """Print nothing about clients that disconnect; they are part of what is tested."""


def is_free(port: int) -> bool:
    """Whether a server can listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        # As the servers do: connections that were closed lately do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def free_port(text: str) -> int:
    """Read an option; raises argparse.ArgumentTypeError unless a server can listen on this port."""
    if not (text.isdecimal() and is_free(int(text))):
        raise ArgumentTypeError(f"{text} is in use or not a port; end what uses it, or choose another one")
    return int(text)


class Server:
    """A server that can be stopped and started again at its address; as a context manager it is started and stopped."""

    def __init__(self, application: Application, port: int = 0) -> None:
        """Listen on 127.0.0.1; port 0 is a free port."""
        self._handler = type("Handler", (_Handler,), {"application": staticmethod(application)})
        self._server = _Server(("127.0.0.1", port), self._handler)
        self._held: socket.socket | None = None
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Answer requests."""
        if self._held:
            self._server = _Server(self._server.server_address, self._handler, self._held)
            self._held = None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections, and close open ones; no other process can take the port."""
        self._server.shutdown()
        self._server.server_close()
        # It is bound and does not listen, so the kernel refuses connections and gives the port to nobody else.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(self._server.server_address)
        for connection in list(self._server.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def wait(self) -> None:
        """Serve until the process is interrupted."""
        with suppress(KeyboardInterrupt):
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._held is None:
            self.stop()
        if self._held:
            self._held.close()
            self._held = None
