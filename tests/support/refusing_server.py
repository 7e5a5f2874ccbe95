"""A server that refuses every session with an SQLSTATE of a test's choice, in German."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104


@contextmanager
def refusing_server(state: str, message: str) -> Iterator[int]:
    """Its port on 127.0.0.1."""
    fields = {"S": "FATAL", "V": "FATAL", "C": state, "M": message}
    body = b"".join(name.encode() + value.encode() + b"\0" for name, value in fields.items()) + b"\0"
    answer = b"E" + struct.pack(">i", len(body) + 4) + body
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # closed: the test is over
                return
            with client, suppress(OSError, struct.error):
                client.settimeout(5)
                while struct.unpack(">ii", client.recv(8))[1] in (_SSL_REQUEST, _GSS_REQUEST):
                    client.sendall(b"N")
                client.sendall(answer)
                client.shutdown(socket.SHUT_WR)
                while client.recv(4096):
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
