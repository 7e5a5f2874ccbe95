"""A TCP proxy in front of the server's Unix socket that does one bad thing to the connections through it, once."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum

_LINGER_OFF = struct.pack("ii", 1, 0)
_COMMIT = b"COMMIT"


class Harm(StrEnum):
    """What happens when `limit` bytes went through; connections that are made afterwards are left alone."""

    DROP = "drop"
    """Every open connection is closed."""
    RESET = "reset"
    """... with a TCP reset."""
    HANG = "hang"
    """Nothing is forwarded any more on the open connections, which stay open."""
    COMMIT = "lost commit"
    """The next COMMIT reaches the server, and its answer is lost with the connection."""


class Proxy:
    """Forwards until `limit` bytes went through, in both directions together."""

    def __init__(self, target: str, limit: int, harm: Harm) -> None:
        self.port = 0
        self.struck = threading.Event()
        self._target = target
        self._left = limit
        self._harm = harm
        self._open: set[asyncio.StreamWriter] = set()
        self._hanging: set[asyncio.StreamWriter] = set()
        self._clients: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None

    async def serve(self, ready: threading.Event) -> None:
        """Forwards until `stop`."""
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._client, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await self._end.wait()
            self._cut_all()
            await asyncio.gather(*self._clients, return_exceptions=True)

    def stop(self) -> None:
        """Ends `serve`, from another thread."""
        assert self._loop is not None
        assert self._end is not None
        self._loop.call_soon_threadsafe(self._end.set)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.append(task)
        try:
            behind, to_server = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.close()
            return
        both = {writer, to_server}
        self._open |= both
        await asyncio.gather(self._forward(reader, to_server, both), self._forward(behind, writer, both, answers=True))
        self._open -= both
        for one in both:
            one.close()
            with suppress(OSError):
                await one.wait_closed()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        both: set[asyncio.StreamWriter],
        answers: bool = False,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                self._left -= len(data)
                if self._left < 0 and not self.struck.is_set():
                    if self._harm is not Harm.COMMIT:
                        self._strike()
                    elif not answers and _COMMIT in data:
                        self.struck.set()
                        self._hanging.add(next(iter(both - {writer})))  # the answer's way
                if writer in self._hanging:
                    if self._harm is Harm.COMMIT:
                        break  # the server has answered, so it has committed
                    continue
                writer.write(data)
                await writer.drain()
        if writer not in self._hanging:
            writer.close()
        elif self._harm is Harm.COMMIT:
            for one in both:
                one.transport.abort()

    def _strike(self) -> None:
        self.struck.set()
        if self._harm is Harm.HANG:
            self._hanging |= self._open
        else:
            self._cut_all()

    def _cut_all(self) -> None:
        for writer in self._open:
            raw = writer.get_extra_info("socket")
            if self._harm is Harm.RESET and raw is not None and raw.family == socket.AF_INET:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
            writer.transport.abort()


@contextmanager
def harmful_proxy(target: str, limit: int, harm: Harm) -> Iterator[Proxy]:
    """A running proxy to the Unix socket `target`."""
    proxy = Proxy(target, limit, harm)
    ready = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(proxy.serve(ready)), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        proxy.stop()
        thread.join(10)
