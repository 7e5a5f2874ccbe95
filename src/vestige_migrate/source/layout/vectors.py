"""Where a memory's vector is, which of several comes over, and which rows of vectors stay behind.

A vector is taken from the active profile, else from the memory's own column, else from `node_embeddings`
(docs/versions.md). It comes over where it belongs to the model that the destination is stamped with, and where the
memory does not say that it is of an earlier text (`stale`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vestige_migrate.model_names import NOMIC_DIMENSION
from vestige_migrate.source.layout.layout import Layout, Mislabelled
from vestige_migrate.source.layout.table_source import EVERY_ROW
from vestige_migrate.source.sqlite.quoting import column, quote_text

OTHER_MODEL = 1
"""What the SELECT yields instead of a vector that belongs to another embedding model."""
NO_VECTOR = 2
"""What the SELECT yields instead of a text or number that stands where a BLOB should."""
MISLABELLED = 3
"""What the SELECT yields instead of a vector whose label is known to be wrong."""
TO_SHORTEN_BYTES = 1
"""A vector that comes over shortened is yielded up to its last byte that counts, and so many bytes more: no other is as
long, since a whole number of floats is not."""

VECTOR_TABLES = {"embedding_profile_vectors": "profile_id, node_id", "node_embeddings": "node_id"}
"""Tables of vectors, and what is unique in each of them unless the layout names it among `repeated_vectors`."""

_FLOAT_BYTES = 4
_NODES, _PROFILE, _MIRROR = "n", "p", "e"


@dataclass(frozen=True)
class VectorSource:
    """`joins` on `knowledge_nodes AS n`, one row each at the most; `value` yields the vector, NULL or a marker."""

    joins: str
    value: str | None


def vector_source(layout: Layout) -> VectorSource:
    """How the vector of a memory is read from this file."""
    value, earlier = _coalesce(layout, lambda place: _value(layout, place)), stale(layout, "n")
    if value is not None and earlier is not None:
        value = f"CASE WHEN {earlier} THEN NULL ELSE {value} END"
    return VectorSource(_joins(layout), value)


def stale(layout: Layout, alias: str) -> str | None:
    """Whether the memory says that it has no vector, so that one that is there is of an earlier text of its own.

    Vestige sets `has_embedding` to 0 where a text is edited while no embedder is ready, and where memories are merged,
    and leaves the vector. NULL, or any other text than these, says nothing. None where the file has no such column.
    """
    return _says(layout, alias, 0, "false")


def claims_vector(layout: Layout, alias: str) -> str | None:
    """Whether the memory says that it has a vector; None where the file has no such column."""
    return _says(layout, alias, 1, "true")


def _says(layout: Layout, alias: str, number: int, word: str) -> str | None:
    if not layout.has("knowledge_nodes", "has_embedding"):
        return None
    # As texts too: a table that another program has made need not give the column an affinity.
    return f"{column('has_embedding', alias)} IN ({number}, '{number}', '{word}')"


@dataclass(frozen=True)
class MirrorAlone:
    """`table` to read `node_embeddings` from, as `v`; `usable` is 1, 0 or NULL, as in `usable_source`. `mislabelled`
    says whether a row's label is known to be wrong; None where none is."""

    table: str
    usable: str
    mislabelled: str | None


def mirror_alone(layout: Layout) -> MirrorAlone | None:
    """`node_embeddings` where it is the only place of vectors; None where there are others, or none."""
    if _places(layout) != [_MIRROR]:
        return None
    return MirrorAlone(
        _table(layout, "node_embeddings"), _usable(layout, _MIRROR, "v"), _mislabelled(layout, _MIRROR, "v")
    )


def usable_source(layout: Layout) -> VectorSource:
    """The same as `vector_source`, with 1 for a vector that can come over and 0 for one that cannot, of whichever text
    it is."""
    return VectorSource(_joins(layout), _coalesce(layout, lambda place: _usable(layout, place, place)))


def mislabelled_alone(layout: Layout) -> str | None:
    """Whether the label of a memory's only vector is known to be wrong, on the joins of `usable_source`; None where no
    label is."""
    wrong = _mislabelled(layout, _MIRROR, _MIRROR) if _MIRROR in _places(layout) else None
    if wrong is None:
        return None
    others = [f"{column('embedding', place)} IS NULL" for place in _places(layout) if place != _MIRROR]
    return " AND ".join([*others, wrong])


def vector_places(layout: Layout) -> list[str]:
    """Where this file has vectors, the first choice first: a table, or `knowledge_nodes` for its own column."""
    names = {_PROFILE: "embedding_profile_vectors", _NODES: "knowledge_nodes", _MIRROR: "node_embeddings"}
    return [names[place] for place in _places(layout)]


def unplaced_rows(layout: Layout, table: str) -> str:
    """FROM and WHERE for the rows (`v`) of a table of vectors whose vector is not in the destination after a copy."""
    rows = f"FROM {table} AS v"
    place = {"embedding_profile_vectors": _PROFILE, "node_embeddings": _MIRROR}[table]
    if place not in _places(layout):
        return rows
    layout = replace(layout, shortened=0)  # of a vector that comes over shortened the rest is in the source alone
    usable = _usable(layout, place, "v")
    # The subquery reads indexes only and yields few rows, which a NOT EXISTS of its own would not.
    orphaned = (
        f"v.rowid IN (SELECT o.rowid FROM {table} AS o"
        " WHERE NOT EXISTS (SELECT 1 FROM knowledge_nodes AS m WHERE m.id = o.node_id))"
    )
    if table in layout.repeated_vectors:
        orphaned += f" OR v.rowid NOT IN ({_newest(table)})"
    if (earlier := stale(layout, "m")) is not None:
        orphaned += (
            f" OR v.rowid IN (SELECT o.rowid FROM knowledge_nodes AS m NOT INDEXED CROSS JOIN {table} AS o"
            f" ON o.node_id = m.id WHERE {earlier})"
        )
    if place == _PROFILE:
        other = f"v.profile_id IS NOT {quote_text(layout.active_profile or '')}"
        return f"{rows} WHERE {other} OR NOT {usable} OR {orphaned}"
    before = [column("embedding", other) for other in _places(layout) if other != _MIRROR]
    if not before:
        return f"{rows} WHERE NOT {usable} OR {orphaned}"
    # The mirror of a vector that comes over from elsewhere is no second vector: it is in the destination, too.
    first = _first(before)
    joins = f"LEFT JOIN knowledge_nodes AS n ON n.id = v.node_id {_joins(layout, without=_MIRROR)}"
    same = f"CASE WHEN {first} IS NULL THEN {usable} ELSE {first} IS v.embedding END"
    others = f" OR v.rowid NOT IN ({_newest(table)})" if table in layout.repeated_vectors else ""
    if (earlier := stale(layout, "n")) is not None:
        others += f" OR {earlier}"
    return f"{rows} {joins} WHERE n.id IS NULL OR NOT {same}{others}"


def unplaced_condition(layout: Layout, table: str) -> str:
    """A condition on any table's rows (`n`): which of them have no place in the destination."""
    return f"n.rowid IN (SELECT v.rowid {unplaced_rows(layout, table)})" if table in VECTOR_TABLES else EVERY_ROW


def _places(layout: Layout) -> list[str]:
    """The aliases under which this file has vectors, the first choice first."""
    places = []
    if layout.active_profile is not None:
        places.append(_PROFILE)
    if layout.has("knowledge_nodes", "embedding"):
        places.append(_NODES)
    if layout.has("node_embeddings", "embedding") and layout.has("node_embeddings", "node_id"):
        places.append(_MIRROR)
    return places


def _newest(table: str) -> str:
    """The rowids of the last row of each memory (and profile)."""
    return f"SELECT MAX(rowid) FROM {table} GROUP BY {VECTOR_TABLES[table]}"


def _table(layout: Layout, table: str) -> str:
    """A table of vectors to join: one row a memory (and profile), or the rows of memories would be doubled."""
    if table not in layout.repeated_vectors:
        return table
    return f"(SELECT * FROM {table} WHERE rowid IN ({_newest(table)}))"


def _joins(layout: Layout, without: str = "") -> str:
    joins = {
        _PROFILE: f"LEFT JOIN {_table(layout, 'embedding_profile_vectors')} AS p ON p.node_id = n.id"
        f" AND p.profile_id = {quote_text(layout.active_profile or '')}",
        _MIRROR: f"LEFT JOIN {_table(layout, 'node_embeddings')} AS e ON e.node_id = n.id",
    }
    return " ".join(joins[place] for place in _places(layout) if place in joins and place != without)


def _coalesce(layout: Layout, choice: Callable[[str], str]) -> str | None:
    choices = [choice(place) for place in _places(layout)]
    return _first(choices) if choices else None


def _first(expressions: Sequence[str]) -> str:
    """The first of the expressions that is not NULL (COALESCE takes two or more)."""
    return expressions[0] if len(expressions) == 1 else f"COALESCE({', '.join(expressions)})"


def _value(layout: Layout, place: str) -> str:
    """The vector at this place, NULL where there is none, or the reason why what is there cannot be taken."""
    value = column("embedding", place)
    blob = (
        f"CASE typeof({value}) WHEN 'blob' THEN {_cut(layout, place, value)} WHEN 'null' THEN NULL ELSE {NO_VECTOR} END"
    )
    of_other, wrong = _of_other_model(layout, place, place), _mislabelled(layout, place, place)
    if of_other is not None:
        blob = f"CASE WHEN {of_other} THEN {OTHER_MODEL} ELSE {blob} END"
    return blob if wrong is None else f"CASE WHEN {wrong} THEN {MISLABELLED} ELSE {blob} END"


def _cut(layout: Layout, place: str, value: str) -> str:
    """The BLOB; one to be shortened with only the mark of it, and none other with that."""
    if not layout.shortened or layout.dimension is None:
        return value
    cut = layout.dimension * _FLOAT_BYTES + TO_SHORTEN_BYTES
    other = f"CASE LENGTH({value}) WHEN {cut} THEN {NO_VECTOR} ELSE {value} END"
    return (
        f"CASE WHEN {_is_long(layout, value)} THEN substr({value}, 1, {cut}) ELSE {other} END"
        if place == _MIRROR
        else other
    )


def _is_long(layout: Layout, value: str) -> str:
    assert layout.dimension is not None
    shortest, longest = (layout.dimension + 1) * _FLOAT_BYTES, NOMIC_DIMENSION * _FLOAT_BYTES
    return f"(LENGTH({value}) BETWEEN {shortest} AND {longest} AND LENGTH({value}) % {_FLOAT_BYTES} = 0)"


def _usable(layout: Layout, place: str, alias: str) -> str:
    """1 where a vector of this place can come over, 0 where it cannot, NULL where there is none."""
    value = column("embedding", alias)
    size = f"LENGTH({value})" + (f" = {layout.dimension * _FLOAT_BYTES}" if layout.dimension else " > 0")
    if layout.shortened and place == _MIRROR:
        size = f"({size} OR {_is_long(layout, value)})"
    judged = f"CASE typeof({value}) WHEN 'blob' THEN {size} WHEN 'null' THEN NULL ELSE 0 END"
    of_other = [found for ask in (_of_other_model, _mislabelled) if (found := ask(layout, place, alias))]
    return f"CASE WHEN {' OR '.join(of_other)} THEN 0 ELSE {judged} END" if of_other else judged


def _mislabelled(layout: Layout, place: str, alias: str) -> str | None:
    """Whether the row's label is known to be wrong; None where no row's of this place is."""
    if place != _MIRROR or not layout.mislabelled:
        return None
    return is_one_of(layout.mislabelled, column("model", alias), column("embedding", alias))


def is_one_of(mislabelled: Sequence[Mislabelled], name: str, value: str) -> str:
    """Whether a row with this name and this vector, both expressions, is among them."""
    of = [
        f"({name} = {quote_text(found.name)} AND LENGTH({value}) = {found.floats * _FLOAT_BYTES})"
        for found in mislabelled
    ]
    return f"(typeof({value}) = 'blob' AND ({' OR '.join(of)}))"


def _of_other_model(layout: Layout, place: str, alias: str) -> str | None:
    """Whether the row holds another model's vector; None where no row of this place can."""
    if place != _MIRROR:
        return None
    if not layout.mirror_counts:
        return f"{column('node_id', alias)} IS NOT NULL"
    if layout.vector_labels is None or not layout.has("node_embeddings", "model"):
        return None
    return f"{column('model', alias)} NOT IN ({', '.join(map(quote_text, layout.vector_labels))})"
