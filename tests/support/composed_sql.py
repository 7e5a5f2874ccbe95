"""Finds SQL that is put together other than by psycopg.sql, by reading the code.

What ruff's S608 looks for is an f-string, a `%` or a `.format` around something like a statement. It does not see
`sql.SQL(name)`, `"DROP TABLE " + name`, a statement made in another line or a `str` handed to a function that runs it.
Here the rule is the other way round: a statement is refused unless it is known to be fixed or composed.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

_RUNS = frozenset({"execute", "executemany", "copy", "stream"})
"""Methods of a connection or a cursor whose first argument is a statement."""

_COMPOSERS = frozenset({"SQL", "Identifier", "Literal", "Placeholder"})
_CHAINED = frozenset({"format", "join", "as_bytes"})
_PACKAGED = frozenset({"read_sql", "statements"})
"""They return statements of the package's own .sql files."""

_FIXED_TEXT = "LiteralString"
_COMPOSED_TYPES = frozenset({"sql.SQL", "sql.Composed", "sql.Composable", "sql.Identifier"})

_Scoped = ast.Module | ast.FunctionDef | ast.Lambda
_Seen = frozenset[tuple[str, bool]]


def findings(source: str) -> list[str]:
    """`line: code` of every argument of `sql.SQL` and of every statement that is neither fixed nor composed."""
    tree = ast.parse(source)
    attributes = _Names()
    scopes = list(_scopes(tree, None, attributes, tree))
    return [finding for scope in scopes for finding in scope.findings()]


class _Names:
    """What names are bound to."""

    def __init__(self) -> None:
        self.values: dict[str, list[ast.expr]] = defaultdict(list)
        self.types: dict[str, list[ast.expr]] = defaultdict(list)
        self.unknown: set[str] = set()
        """Also bound in a way that nothing is known of: unpacked, or a parameter without a type."""

    def has(self, name: str) -> bool:
        return name in self.values or name in self.types or name in self.unknown


def _scopes(node: _Scoped, outer: _Scope | None, attributes: _Names, tree: ast.Module) -> Iterator[_Scope]:
    """The scope of the module or function, and those inside of it."""
    scope = _Scope(node, outer, attributes, tree)
    yield scope
    for inner in scope.inner:
        yield from _scopes(inner, scope, attributes, tree)


class _Scope:
    """A module or a function, without the functions in it. Attributes have one scope: all objects of the module."""

    def __init__(self, node: _Scoped, outer: _Scope | None, attributes: _Names, tree: ast.Module) -> None:
        self._outer = outer
        self._attributes = attributes
        self._tree = tree
        self._names = _Names()
        self._nodes = list(_own_nodes(node))
        self.inner = [found for found in self._nodes if isinstance(found, ast.FunctionDef | ast.Lambda)]
        if not isinstance(node, ast.Module):
            self._bind_parameters(node.args)
        for found in self._nodes:
            self._bind(found)

    def findings(self) -> Iterator[str]:
        """What is refused here."""
        for node in self._nodes:
            if not isinstance(node, ast.Call) or not node.args:
                continue
            runs = isinstance(node.func, ast.Attribute) and node.func.attr in _RUNS
            if (runs or _name(node.func) == "SQL") and not self._is_fixed(node.args[0], frozenset()):
                yield f"{node.lineno}: {ast.unparse(node.func)}({ast.unparse(node.args[0])})"

    def _bind_parameters(self, arguments: ast.arguments) -> None:
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if argument.annotation is None:
                self._names.unknown.add(argument.arg)
            else:
                self._names.types[argument.arg].append(argument.annotation)

    def _bind(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._bind_to(target, node.value)
        elif isinstance(node, ast.AugAssign | ast.NamedExpr | ast.AnnAssign) and node.value is not None:
            self._bind_to(node.target, node.value)
        elif isinstance(node, ast.AnnAssign):  # a declaration, such as a dataclass's field
            self._attributes.types[_name(node.target)].append(node.annotation)
            self._names.types[_name(node.target)].append(node.annotation)
        elif isinstance(node, ast.For | ast.comprehension):
            self._bind_to(node.target, node.iter)  # one of them is as fixed as all of them
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self._bind_to(node.optional_vars, node.context_expr)

    def _bind_to(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._names.values[target.id].append(value)
        elif isinstance(target, ast.Attribute):
            # Looked up where it is read, in whatever function that is: a name is of no use there.
            fixed = self._is_fixed(value, frozenset()) or _is_none(value)
            if fixed:
                self._attributes.values[target.attr].append(value)
            else:
                self._attributes.unknown.add(target.attr)
        else:
            self._names.unknown.update(_name(part) for part in ast.walk(target) if isinstance(part, ast.Name))

    def _is_fixed(self, node: ast.expr, seen: _Seen, text: bool = True) -> bool:
        """Whether this is fixed or composed; with `text` False only what is composed will do."""
        if isinstance(node, ast.Constant):
            return text and isinstance(node.value, str)
        if isinstance(node, ast.IfExp):
            return self._is_fixed(node.body, seen, text) and self._is_fixed(node.orelse, seen, text)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._is_fixed(node.left, seen, text) and self._is_fixed(node.right, seen, text)
        if isinstance(node, ast.Subscript):
            return self._is_fixed(node.value, seen, text)
        if isinstance(node, ast.Call):
            return self._is_made(node, seen, text)
        if isinstance(node, ast.Name):
            return self._is_bound_to_fixed(node.id, seen, text)
        return isinstance(node, ast.Attribute) and self._is_known(self._attributes, node.attr, seen, text)

    def _is_made(self, node: ast.Call, seen: _Seen, text: bool) -> bool:
        if isinstance(node.func, ast.Attribute):
            if node.func.attr in _COMPOSERS:
                return True  # what SQL() was given is looked at by itself
            if node.func.attr in _CHAINED:  # of psycopg.sql, and not of str: a plain text before it is refused
                return self._is_fixed(node.func.value, seen, text=False)
        name = _name(node.func)
        found = [each for each in ast.walk(self._tree) if isinstance(each, ast.FunctionDef) and each.name == name]
        if name in _PACKAGED:
            return text
        return bool(found) and all(_is_fixed_type(each.returns, text) for each in found)

    def _is_bound_to_fixed(self, name: str, seen: _Seen, text: bool) -> bool:
        if self._names.has(name):
            return self._is_known(self._names, name, seen, text)
        return self._outer is not None and self._outer._is_bound_to_fixed(name, seen, text)

    def _is_known(self, names: _Names, name: str, seen: _Seen, text: bool) -> bool:
        if (name, text) in seen:  # `q += ...`: the other values tell
            return True
        if name in names.unknown or not names.has(name):
            return False
        seen |= {(name, text)}
        typed = all(_is_fixed_type(annotation, text) for annotation in names.types[name])
        return typed and all(_is_none(value) or self._is_fixed(value, seen, text) for value in names.values[name])


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node of the module or function, and the functions in it without what is inside of them."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.Lambda):
            yield from _own_nodes(child)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_fixed_type(annotation: ast.expr | None, text: bool) -> bool:
    parts = {part.strip() for part in ast.unparse(annotation).split("|")} if annotation is not None else {""}
    return parts <= (_COMPOSED_TYPES | {_FIXED_TEXT} if text else _COMPOSED_TYPES)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
