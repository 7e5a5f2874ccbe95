"""A TCP proxy in front of several servers, as a balancer is: whoever connects is led to the one that `route` names."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.support.background_loop import forward, serving

Route = Callable[[int], str]
"""The Unix socket for the connection of this number, from 0."""


class RoutingProxy:
    """`port` on 127.0.0.1; `routed` has the target of every connection. `route` may be replaced at any time."""

    def __init__(self, route: Route) -> None:
        self.port = 0
        self.route = route
        self.routed: list[str] = []
        self._open: set[asyncio.StreamWriter] = set()
        self._clients: list[asyncio.Task[None]] = []

    async def serve(self, ready: threading.Event, end: asyncio.Event) -> None:
        """Forwards until `end`."""
        async with await asyncio.start_server(self._client, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await end.wait()
            for writer in self._open:
                writer.transport.abort()
            await asyncio.gather(*self._clients, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.append(task)
        self._open.add(writer)
        target = self.route(len(self.routed))
        self.routed.append(target)
        with suppress(OSError):
            behind, to_server = await asyncio.open_unix_connection(target)
            self._open.add(to_server)
            await asyncio.gather(forward(reader, to_server), forward(behind, writer))
            await _close(to_server)
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@contextmanager
def routing_proxy(route: Route) -> Iterator[RoutingProxy]:
    """A running one."""
    proxy = RoutingProxy(route)
    with serving(proxy.serve):
        yield proxy
