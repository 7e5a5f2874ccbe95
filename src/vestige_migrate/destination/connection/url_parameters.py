"""Parameters of a connection string that libpq does not know, by name, and never a piece of a password.

Other programs have parameters of their own in their URLs (`?pgbouncer=true`, `?schema=public`), and libpq refuses the
whole string for one of them, in words that may quote a password. So the string is taken apart here as libpq does it
(fe-connect.c, `conninfo_uri_parse_options` and `conninfo_parse`). A name that may be a piece of a secret before it
(`?password=a&b=c`, where `&` was not encoded) is not shown unless it is one that other programs are known to use.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import unquote

from psycopg.pq import Conninfo

SCHEMES = ("postgresql://", "postgres://")
SHOWN = {
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname",
    "fallback_application_name", "gssdelegation", "gssencmode", "gsslib", "host", "hostaddr", "keepalives",
    "keepalives_count", "keepalives_idle", "keepalives_interval", "krbsrvname", "load_balance_hosts",
    "max_protocol_version", "min_protocol_version", "oauth_client_id", "oauth_scope", "passfile", "port",
    "replication", "require_auth", "requirepeer", "requiressl", "service", "servicefile", "ssl_max_protocol_version",
    "ssl_min_protocol_version", "sslcert", "sslcertmode", "sslcompression", "sslcrl", "sslcrldir", "sslkey",
    "sslkeylogfile", "sslmode", "sslnegotiation", "sslrootcert", "sslsni", "target_session_attrs", "tcp_user_timeout",
    "user",
}  # fmt: skip
"""Parameters of libpq whose values are shown. Any other may hold a secret: passwords and keys, `options` (a setting
such as `-c app.password=...`, or what a proxy takes there), `oauth_issuer` (a URL), and what a later libpq brings."""

_SCHEMAS = {"schema", "currentschema", "search_path", "searchpath"}
_FOREIGN = _SCHEMAS | {
    "applicationname", "binarytransfer", "channelbinding", "charset", "command_timeout", "connection_limit",
    "connection_timeout", "connecttimeout", "default_query_exec_mode", "defaultrowfetchsize", "driver", "encoding",
    "idle_timeout", "loglevel", "logintimeout", "max_overflow", "maxpoolsize", "minpoolsize", "pgbouncer", "pool",
    "pool_max_conns", "pool_min_conns", "pool_pre_ping", "pool_recycle", "pool_size", "pool_timeout", "pooling",
    "prepared_statement_cache_size", "prepared_statements", "preparethreshold", "query_timeout", "readonly",
    "rewritebatchedinserts", "server_settings", "serverversion", "socket_timeout", "sockettimeout", "ssl", "sslaccept",
    "sslfactory", "sslidentity", "statement_cache_capacity", "statement_cache_size", "statement_timeout", "stringtype",
    "targetservertype", "tcpkeepalive", "timeout", "timezone", "uselibpqcompat", "workaround",
}  # fmt: skip
"""In lower case: parameters of Prisma, SQLAlchemy, asyncpg, JDBC, Npgsql, node-postgres, pgx and sqlx."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
_KEYWORD = re.compile(r"\s*([^\s=]+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s\\']|\\.)(?:[^\s\\]|\\.)*|(?=\s|$))", re.DOTALL)
_PLAIN_VALUE = re.compile(r"true|false|on|off|yes|no|[0-9]{1,4}", re.IGNORECASE)
_LIKE_A_SECRET = re.compile(r"pas|pw|secret|key|token|auth|cred", re.IGNORECASE)


@dataclass(frozen=True)
class Unknown:
    """What a string has that libpq does not know: the names that may be shown, and how many others there are.

    `rest` is the string without them.
    """

    names: tuple[str, ...]
    others: int
    rest: str

    def __str__(self) -> str:
        """What is wrong and what to do, to stand behind the name of the option."""
        shown = list(self.names)
        if self.others:
            shown.append(f"{self.others} not shown, because the name may be a piece of the secret before it")
        return f"has parameters that libpq does not know ({', '.join(shown)}): leave them out{''.join(self._hints())}"

    def _hints(self) -> Iterator[str]:
        if self.others:
            yield "; in a password, write & as %26 and a space as %20 in a URL, and quote it in a keyword string"
        for name in self.names:
            if name.lower() in _SCHEMAS:
                yield "; a schema is chosen with options=-csearch_path=NAME (in a URL, the second = is %3D)"
            elif name.lower() not in _FOREIGN:
                yield from (f"; or is {name} meant to be {close}?" for close in get_close_matches(name, _known(), 1))


def unknown_parameters(string: str) -> Unknown | None:
    """What libpq does not know in a URL or keyword string; None where there is none, or the string is broken anyway."""
    return _in_url(string) if string.startswith(SCHEMES) else _in_keywords(string)


def _known() -> list[str]:
    return sorted(option.keyword.decode() for option in Conninfo.get_defaults())


def _in_url(url: str) -> Unknown | None:
    before, mark, query = _split_query(url)
    if not mark:
        return None
    parts = query.split("&")
    pairs = [(unquote(name), unquote(value)) for name, has_value, value in (part.partition("=") for part in parts)]
    if not all("=" in part for part in parts):
        return None
    # libpq itself takes this one, for JDBC's sake.
    known = {*_known(), *(["ssl"] if ("ssl", "true") in pairs else [])}
    kept = [part for part, (name, _) in zip(parts, pairs, strict=True) if name in known]
    return _judge(pairs, known, before + ("?" + "&".join(kept) if kept else ""), in_url=True)


def _split_query(url: str) -> tuple[str, str, str]:
    """The URL before its `?`, the `?`, and what is behind it. A `?` in user or password is none of these."""
    at, slash = url.find("@"), url.find("/", url.index("://") + 3)
    start = at if at >= 0 and not 0 <= slash < at else 0
    before, mark, query = url[start:].partition("?")
    return url[:start] + before, mark, query


def _in_keywords(string: str) -> Unknown | None:
    found = list(_KEYWORD.finditer(string))
    if "".join(match[0] for match in found) != string.rstrip():
        return None
    known = set(_known())
    kept = [match[0].strip() for match in found if match[1] in known]
    if not kept:
        return None  # perhaps no connection string at all, but a password in its place
    return _judge([(match[1], match[2].strip("'")) for match in found], known, " ".join(kept))


def _judge(pairs: list[tuple[str, str]], known: Collection[str], rest: str, in_url: bool = False) -> Unknown | None:
    names: list[str] = []
    first, others = pairs[0][0], 0
    # A keyword string may begin anywhere in a password.
    after_secret = not in_url and first not in known and not get_close_matches(first, known, 1, 0.8)
    for name, value in pairs:
        if name in known:
            after_secret = after_secret or (name not in SHOWN and bool(value))
        elif name.lower() in _FOREIGN:
            names.append(name)
        else:
            if _NAME.fullmatch(name) and not after_secret:
                names.append(name)
            else:
                others += 1
            after_secret = after_secret or bool(_LIKE_A_SECRET.search(name)) or not _PLAIN_VALUE.fullmatch(value)
    return Unknown(tuple(dict.fromkeys(names)), others, rest) if names or others else None
