"""Text columns. PostgreSQL's `text` takes any Unicode but NUL; SQLite's takes any bytes."""

from __future__ import annotations

from vestige_migrate.decode.problem import BadValue, Raw

REPLACEMENT = "\ufffd"


def tolerant_text(raw: bytes) -> str:
    """A `text_factory` for files with invalid UTF-8: bad bytes become lone surrogates, seen by `decode_text`."""
    return raw.decode("utf-8", "surrogateescape")


def repair(text: str) -> tuple[str, list[str]]:
    """`text` with everything PostgreSQL cannot store replaced by U+FFFD, and the names of what was replaced."""
    found = []
    if "\0" in text:
        found.append("a NUL character")
        text = text.replace("\0", REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        found.append("invalid UTF-8")
        # Back to the bytes as they stood in the file, then one U+FFFD for each maximal invalid run (Unicode 3.9).
        # "surrogatepass" is for lone surrogates that did not come from bytes (a JSON escape).
        try:
            raw = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raw = text.encode("utf-8", "surrogatepass")
        text = raw.decode("utf-8", "replace")
    return text, found


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store the text as it is."""
    return not repair(text)[1]


def decode_text(raw: Raw) -> str | None:
    """The text, or None for NULL.

    An integer or a real is written out and a BLOB is read as UTF-8: nothing is lost by either. Raises `BadValue`
    with the repaired text where characters had to be replaced.
    """
    if raw is None:
        return None
    if isinstance(raw, (int, float)):
        return repr(raw)
    text = raw if isinstance(raw, str) else tolerant_text(raw)
    repaired, found = repair(text)
    if found:
        raise BadValue(f"has {' and '.join(found)}, replaced by U+FFFD", instead=repaired)
    return repaired


MAX_INDEXED_BYTES = 2600
"""A B-tree entry holds at most a third of an 8 KiB page, 2704 bytes with its header; GIN about the same."""


def decode_label(raw: Raw) -> str | None:
    """A text in an indexed column, or None for NULL: one too long for the index, repaired or not, is refused."""
    try:
        text = decode_text(raw)
    except BadValue as problem:
        if _fits_index(str(problem.instead)):
            raise
        text = str(problem.instead)
    if text is not None and not _fits_index(text):
        raise BadValue(f"is too long to be indexed (at most {MAX_INDEXED_BYTES} bytes)")
    return text


def _fits_index(text: str) -> bool:
    return len(text.encode()) <= MAX_INDEXED_BYTES
