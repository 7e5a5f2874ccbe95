"""Reading a large JSON document a value at a time, in memory bounded by its largest row.

Of the streaming libraries ijson is the one that is kept and has wheels, and it does not do here: its C backend turns a
lone surrogate into a question mark without a word, with `use_float` it refuses integers beyond 64 bits in a message
that quotes the document, and its Python backend builds every event in Python. So the scanner of the standard library
(in C, exact for integers and reals) is given one value after the other out of a buffer that is filled as it goes.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NoReturn

Pairs = list[tuple[str, Any]]

CHUNK_BYTES = 1024 * 1024
_MOST_CHARS = 1024 * 1024 * 1024
"""Of one value. PostgreSQL takes no value of more than 1 GB."""
_REACH = 16
"""An error so close to the end of the buffer may be for want of the rest: `fals`, `1e+`, `\\ud83`."""
_SPACE = re.compile(r"[ \t\r\n]*")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which is how it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class NotJson(Exception):
    """The document is none, from character `at` on (of `about` where it is cut short: it ends there)."""

    def __init__(self, at: int, is_cut: bool = False, is_large: bool = False) -> None:
        super().__init__()
        self.at, self.is_cut, self.is_large = at, is_cut, is_large


class _NoNumber(ValueError):
    """NaN or Infinity, which the scanner would take and JSON does not have."""


def encoding_of(start: bytes) -> str:
    """UTF-8 unless a byte order mark says otherwise (RFC 8259, 8.1, lets a reader ignore one)."""
    return next((name for mark, name in _BYTE_ORDER_MARKS if start.startswith(mark)), "utf-8-sig")


class JsonReader:
    """One document. Bytes that are no valid UTF-8 become lone surrogates, as they do in texts of an SQLite file."""

    def __init__(self, file: BinaryIO, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._file, self._chunk_bytes = file, chunk_bytes
        start = file.read(max(chunk_bytes, len(codecs.BOM_UTF32_LE)))
        encoding = encoding_of(start)
        errors = "surrogateescape" if encoding == "utf-8-sig" else "surrogatepass"
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._plain = json.JSONDecoder(object_pairs_hook=list, parse_constant=_refuse)
        self._buffer = ""
        self._at = 0
        self._before = 0
        self._at_end = False
        self._take(start)

    @property
    def position(self) -> int:
        """Characters that were read so far."""
        return self._before + self._at

    def peek(self) -> str:
        """The next character that is no white space; empty at the end of the document."""
        while True:
            found = _SPACE.match(self._buffer, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._buffer) or not self._fill():
                return self._buffer[self._at : self._at + 1]

    def take(self, character: str) -> None:
        """Passes this character. Raises `NotJson` where another one comes."""
        if self.peek() != character:
            self.fail()
        self._at += 1

    def value(self, decoder: json.JSONDecoder | None = None, begin: Callable[[], None] | None = None) -> Any:
        """The next value as a whole; an object as its pairs, unless the decoder says otherwise. Raises `NotJson`.

        `begin` is called before each try: one that finds half a value has called the decoder's own functions in vain.
        """
        if not self.peek():
            self.fail()
        decode: Callable[[str, int], tuple[Any, int]] = (decoder or self._plain).raw_decode
        while True:
            if begin is not None:
                begin()
            try:
                value, end = decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                is_short = error.pos >= len(self._buffer) - _REACH or error.msg.startswith("Unterminated string")
                if not is_short or not self._more():
                    raise NotJson(self._before + error.pos, is_short and self._at_end) from None
            except (ValueError, RecursionError):
                # NaN, a number of thousands of digits, or brackets within brackets beyond all measure.
                raise NotJson(self.position) from None
            else:
                # A number may go on in what comes next: `1`, `1.`, `1e`, `1e+`.
                if len(self._buffer) - end <= len("e+") and self._more():
                    continue
                self._at = end
                return value

    def items(self) -> Iterator[None]:
        """The elements of an array that comes next: whoever asks reads each of them before asking for another."""
        self.take("[")
        if self.peek() == "]":
            self._at += 1
            return
        while True:
            yield
            if self._next("]"):
                return

    def members(self) -> Iterator[str]:
        """The names of an object's members, in the same way."""
        self.take("{")
        if self.peek() == "}":
            self._at += 1
            return
        while True:
            name = self.value() if self.peek() == '"' else self.fail()
            self.take(":")
            yield name
            if self._next("}"):
                return

    def _next(self, closing: str) -> bool:
        """Whether the array or object ends here; passes the comma where it does not."""
        found = self.peek()
        if found not in (",", closing) or not found:
            self.fail()
        self._at += 1
        return found == closing

    def skip(self, levels: int = 3) -> None:
        """Passes the next value; the parts of an array or object one by one, so many levels deep."""
        first = self.peek() if levels else ""
        if first == "[":
            for _ in self.items():
                self.skip(levels - 1)
        elif first == "{":
            for _ in self.members():
                self.skip(levels - 1)
        else:
            self.value()

    def fail(self) -> NoReturn:
        """Raises `NotJson` for what comes next."""
        raise NotJson(self.position, is_cut=not self.peek())

    def _more(self) -> bool:
        """Fills the buffer to twice of what is left in it; False at the end of the document."""
        wanted = 2 * (len(self._buffer) - self._at)
        if wanted > 2 * _MOST_CHARS:
            raise NotJson(self.position, is_large=True)
        filled = False
        while self._fill():
            filled = True
            if len(self._buffer) - self._at >= wanted:
                break
        return filled

    def _fill(self) -> bool:
        if self._at_end:
            return False
        self._take(self._file.read(self._chunk_bytes))
        return True

    def _take(self, chunk: bytes) -> None:
        self._at_end = not chunk
        try:
            text = self._decoder.decode(chunk, final=self._at_end)
        except UnicodeDecodeError:
            raise NotJson(self._before + len(self._buffer)) from None
        self._before += self._at
        self._buffer = self._buffer[self._at :] + text
        self._at = 0


def row_decoder(cell: Callable[[Pairs], object]) -> json.JSONDecoder:
    """Decodes rows whose cells are objects, which `cell` makes values of: one call of Python a cell."""
    return json.JSONDecoder(object_pairs_hook=cell, parse_constant=_refuse)


def _refuse(_: str) -> NoReturn:
    raise _NoNumber
