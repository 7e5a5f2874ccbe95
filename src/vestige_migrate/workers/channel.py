"""How coordinator and workers talk over a pipe: the messages of `messages`, pickled in C.

The pipe's own `send` and `recv` pickle with dill, in Python: ten times the CPU (measured: 0.5 ms a message of the two
a batch needs), for functions and classes that ours never carry.
"""

from __future__ import annotations

import pickle
from typing import Any


def send(pipe: Any, message: object) -> None:
    """Sends a message. Raises BrokenPipeError or ConnectionResetError where the other end is gone."""
    pipe.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


def receive(pipe: Any) -> Any:
    """Waits for a message. Raises EOFError where the other end is gone, in the middle of a message too."""
    try:
        message = pipe.recv_bytes()
    except OSError as error:  # a reset connection, or the end of the file behind half a message
        raise EOFError from error
    return pickle.loads(message)  # from a process of our own, over a pipe that only it has
