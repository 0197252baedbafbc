"""A page that is served on this machine."""

import contextlib
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipeline.errors import UserError


def serve_page(page: Path, port: int, ready: Callable[[str], object]) -> None:
    """Serve one file as the root of a site of this machine alone; blocks until Ctrl-C.

    Args:
        page: an HTML file.
        port: 0 for any that is free.
        ready: told the address once it answers.

    Raises:
        UserError: the port is taken.
    """
    content = page.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/":
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing of each request."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise UserError(f"port {port} cannot be used ({error.strerror}); choose one by --port") from error
    with server, contextlib.suppress(KeyboardInterrupt):
        ready(f"http://127.0.0.1:{server.server_address[1]}/")
        server.serve_forever()
