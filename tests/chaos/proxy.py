"""A TCP proxy in front of the server's Unix socket that cuts every connection after so many bytes, once."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_LINGER_OFF = struct.pack("ii", 1, 0)


class Cutter:
    """Counts what goes through; past `limit` bytes every open connection is cut, and later ones are left alone."""

    def __init__(self, target: str, limit: int, reset: bool) -> None:
        self.port = 0
        self.cut = False
        self._target = target
        self._left = limit
        self._reset = reset
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, ready: threading.Event, end: asyncio.Event) -> None:
        """Forwards until `end`."""
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await end.wait()
        server.close()
        self._cut_all()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind, to_server = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.close()
            return
        self._open |= {writer, to_server}
        await asyncio.gather(self._forward(reader, to_server), self._forward(behind, writer))
        self._open -= {writer, to_server}

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                self._left -= len(data)
                if self._left < 0 and not self.cut:
                    self.cut = True
                    self._cut_all()
                    return
                writer.write(data)
                await writer.drain()
        writer.close()

    def _cut_all(self) -> None:
        for writer in self._open:
            raw = writer.get_extra_info("socket")
            if self._reset and raw is not None and raw.family == socket.AF_INET:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
            writer.transport.abort()


@contextmanager
def cutting(target: str, limit: int, reset: bool) -> Iterator[Cutter]:
    """A running proxy to the Unix socket `target`."""
    cutter = Cutter(target, limit, reset)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    end = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(cutter.serve(ready, end)), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield cutter
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(10)
