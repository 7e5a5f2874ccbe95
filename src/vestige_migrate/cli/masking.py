"""Passwords in the wrong place: a URL that was given as something else comes back in messages as it was typed."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*:/{1,2}[^\s:/@]*:)\S*@")
"""Of a URL; as a path it has lost one of its slashes. The password goes up to the last `@`: it may have one in it."""


def without_passwords(text: str) -> str:
    """The text with the password of every URL in it masked."""
    return _PASSWORD.sub(r"\1***@", text)
