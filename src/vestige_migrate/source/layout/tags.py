"""What a memory's tags say besides what they are about."""

from __future__ import annotations

from vestige_migrate.source.sqlite.quoting import quote_text


def first_tag(tags: str, prefix: str, unless: str | None = None) -> str:
    """SQL for the rest of the first tag that begins with `prefix`; `tags` is the expression of a JSON array.

    NULL where there is no such tag, where nothing follows the prefix, and where the expression `unless` has a value.
    """
    at, begins = len(prefix), quote_text(prefix)
    empty = f" AND {unless} IS NULL" if unless else ""
    # The first condition is the cheap one, and false for nearly all rows of most files.
    return (
        f"CASE WHEN instr({tags}, {quote_text(chr(34) + prefix)}) AND typeof({tags}) = 'text' AND json_valid({tags})"
        f" AND json_type({tags}) = 'array'{empty} THEN (SELECT substr(t.value, {at + 1}) FROM json_each({tags}) AS t"
        f" WHERE t.type = 'text' AND substr(t.value, 1, {at}) = {begins} AND length(t.value) > {at}"
        " ORDER BY t.key LIMIT 1) END"
    )
