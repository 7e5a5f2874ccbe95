"""A TLS server with a certificate of its own CA in front of a PostgreSQL that was built without TLS.

It speaks PostgreSQL's start of a TLS connection (SSLRequest, then the handshake) and forwards what follows to a Unix
socket. A client that does not ask for TLS is turned away.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.background_loop import forward, serving

_SSL_REQUEST = struct.pack(">ii", 8, 80877103)
_GSS_REQUEST = struct.pack(">ii", 8, 80877104)


class TlsFront:
    """`port` on localhost; `sessions` counts finished handshakes and `plain` the clients that asked for none."""

    def __init__(self, target: str, context: ssl.SSLContext) -> None:
        self.port = 0
        self.sessions = 0
        self.plain = 0
        self._target = target
        self._context = context

    async def serve(self, ready: threading.Event, end: asyncio.Event) -> None:
        """Forwards until `end`."""
        server = await asyncio.start_server(self._client, "localhost", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await end.wait()
        server.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            request = await reader.readexactly(8)
            if request == _GSS_REQUEST:
                writer.write(b"N")
                request = await reader.readexactly(8)
            if request != _SSL_REQUEST:
                self.plain += 1
                return
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(self._context)
            self.sessions += 1
            behind, to_server = await asyncio.open_unix_connection(self._target)
            await asyncio.gather(forward(reader, to_server), forward(behind, writer))
        writer.close()


@contextmanager
def tls_front(target: str, context: ssl.SSLContext) -> Iterator[TlsFront]:
    """A running front of the Unix socket `target`."""
    front = TlsFront(target, context)
    with serving(front.serve):
        yield front
