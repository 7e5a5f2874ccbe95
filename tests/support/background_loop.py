"""A small asyncio server in a thread of its own, and what proxies in it have in common."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Serve = Callable[[threading.Event, asyncio.Event], Coroutine[Any, Any, None]]
"""Says when it is ready, and ends when it is told to."""


@contextmanager
def serving(serve: Serve) -> Iterator[None]:
    """Runs it until the context ends; clients that are still there are cut off."""
    ready, loop, end = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    loop.set_exception_handler(lambda *_: None)  # connections that break are what some tests are about

    def run() -> None:
        loop.run_until_complete(serve(ready, end))
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(10)


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes on what comes, until nothing comes any more."""
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
