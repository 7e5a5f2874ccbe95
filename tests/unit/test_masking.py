"""A password is never shown, in whatever form the destination was given."""

from __future__ import annotations

import re
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from vestige_migrate.cli.failures import Failure
from vestige_migrate.cli.outputs import RunFacts
from vestige_migrate.copy.coordinator import run_sqlite_to_postgres
from vestige_migrate.copy.job import CopyJob
from vestige_migrate.destination.connection.connect import MASK, connection_string, display_url, parse_url
from vestige_migrate.destination.connection.first_connection import unreachable
from vestige_migrate.destination.connection.server_identity import Home
from vestige_migrate.destination.embedded import EmbeddedServer
from vestige_migrate.errors import PlanError, SourceUnusable
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.source.sqlite.connect import SourceFile
from vestige_migrate.source.sqlite.driver import Cipher
from vestige_migrate.verify.destination import OpenDestination
from vestige_migrate.workers.job import WorkerConfig

SEVERAL = settings(max_examples=200, deadline=None)
SECRET_NAMES = (
    "password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key", "options", "oauth_issuer",
)  # fmt: skip
# Long enough, and of characters that nothing else in a shown URL is made of, so that no piece appears by chance.
secrets = st.text("SXZ7%@:/?#&=+ '\"\\[]é漢", min_size=6, max_size=20).filter(lambda text: text.strip() == text)
users = st.sampled_from(["", "me", "me@work", "o'neil", "a b"])
hosts = st.sampled_from(["", "host", "[::1]", "h1,h2", "h1:1,h2:2", "%2Ftmp%2Fsockets", "10.0.0.1:5433"])


def keyword_value(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def shown_of(url: str) -> str:
    """The URL as it is shown; a refusal's whole traceback where it is refused."""
    try:
        return display_url(url)
    except PlanError as error:
        return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ("postgresql://me:pw@host:5433/db", "postgresql://me:***@host:5433/db"),
        ("postgres://me:pw@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://", "postgresql:///"),
        ("postgresql:///db", "postgresql:///db"),
        ("postgresql://me:p%40%2F%3Aw@host/db", "postgresql://me:***@host/db"),
        ("postgresql://m%40e:pw@host/d%2Fb", "postgresql://m%40e:***@host/d%2Fb"),
        ("postgresql://host/db?user=me&password=pw", "postgresql://me:***@host/db"),
        ("postgresql://host/db?password=pw", "postgresql://:***@host/db"),
        ("postgresql://me:one@host/db?password=two", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db?sslpassword=pw&sslmode=require", "postgresql://me@host/db?sslmode=require&sslpassword=***"),
        ("postgresql://me:@host/db", "postgresql://me@host/db"),
        ("postgresql://me:pw@[2001:db8::1]:5433/db", "postgresql://me:***@[2001:db8::1]:5433/db"),
        ("postgresql://me:pw@[2001:db8:0:0:0:0:0:1]/db", "postgresql://me:***@[2001:db8:0:0:0:0:0:1]/db"),
        ("postgresql://me:pw@h1:1,h2:2/db", "postgresql://me:***@/db?host=h1,h2&port=1,2"),
        ("postgresql://me:pw@%2Fvar%2Frun/db", "postgresql://me:***@/db?host=/var/run"),
        ("host=host port=5433 user=me password=pw dbname=db", "postgresql://me:***@host:5433/db"),
        ("host=host password='p w' dbname=db", "postgresql://:***@host/db"),
        (r"host=host password='p\'w' user=me", "postgresql://me:***@host/"),
        (r"host=host password='p\\' user=me", "postgresql://me:***@host/"),
        (r"host=host password=p\ w user=me", "postgresql://me:***@host/"),
        ("  password  =  pw   host = host ", "postgresql://:***@host/"),
        ("password=first host=host password=second", "postgresql://:***@host/"),
        ("host=/tmp port=5433 user=me password=pw", "postgresql://me:***@/?host=/tmp&port=5433"),
        ("hostaddr=10.0.0.1 port=5433 password=pw dbname=db", "postgresql://:***@/db?hostaddr=10.0.0.1&port=5433"),
        ("dbname=db oauth_client_secret=pw", "postgresql:///db?oauth_client_secret=***"),
        ("", "postgresql:///"),
    ],
)  # fmt: skip
def test_every_form_is_shown_as_a_url_without_its_secrets(given_: str, shown: str) -> None:
    assert display_url(given_) == shown


@SEVERAL
@given(secrets, users, hosts, st.sampled_from(["userinfo", "query", "both"]), st.sampled_from(SECRET_NAMES))
def test_a_percent_encoded_secret_in_a_url_is_never_shown(
    secret: str, user: str, host: str, place: str, name: str
) -> None:
    encoded = quote(secret, safe="")
    userinfo = f"{quote(user, safe='')}:{encoded}@" if place != "query" else ""
    query = f"?application_name=x&{name}={encoded}" if place != "userinfo" else ""
    shown = display_url(f"postgresql://{userinfo}{host}/db{query}")
    assert secret not in shown
    assert encoded not in shown
    assert MASK in shown


@SEVERAL
@given(secrets, st.sampled_from(SECRET_NAMES), st.sampled_from([" ", "  ", "\n"]), st.sampled_from(["", " "]))
def test_a_quoted_secret_in_a_keyword_string_is_never_shown(secret: str, name: str, gap: str, pad: str) -> None:
    shown = display_url(gap.join(["host=h", f"{name}{pad}={pad}{keyword_value(secret)}", "user=me"]))
    assert secret not in shown
    assert quote(secret) not in shown
    assert MASK in shown


@SEVERAL
@given(users, st.sampled_from(["host", "::1", "h1,h2", "/tmp/sockets", "10.0.0.1", ""]), st.sampled_from(["", "5433"]))
def test_what_is_shown_still_names_the_same_place(user: str, host: str, port: str) -> None:
    parts = {"user": user, "password": "pw", "host": host, "port": port, "dbname": "d b/c", "sslmode": "require"}
    given_ = " ".join(f"{name}={keyword_value(value)}" for name, value in parts.items() if value)
    assert conninfo_to_dict(display_url(given_)) == {**parse_url(given_), "password": MASK}


@SEVERAL
@given(
    secrets,
    st.sampled_from(
        [
            "{}",
            "password={} tail",
            "host=h password='{}",
            "host=h pasword='{}'",
            "postgresql://me:{}@host:port:port/db",
            "postgresql://me:{}@[::1/db",
            "postgresql://me:{}%zz@host/db",
            "postgresql://me@host/db?password={}&nonsense",
            "postgresql://me@host/db?pasword={}",
            "{}=x host=h",
            "host=h password=two {}=x",
            "host=h pasword=two {}=x",
            "postgresql://me@host/db?password=two&{}=x",
            "postgresql://me:two?{}=x",
            "mysql://me:{}@host/db",
        ]
    ),
)
def test_a_string_with_a_mistake_in_it_is_never_quoted(secret: str, template: str) -> None:
    marker = "S7X" + secret.replace("%", "").replace("'", "").replace("@", "").replace("/", "").replace("\\", "")
    assert "S7X" not in shown_of(template.format(marker))


@pytest.mark.parametrize("bad", ["nonsense", "host=h password='open", "postgresql://h:1:2/db?x", "sslmode", "=x"])
def test_a_refusal_says_what_to_give(bad: str) -> None:
    with pytest.raises(PlanError, match=r"--postgres-url is no connection string .*postgresql://.*host=") as caught:
        display_url(bad)
    assert bad not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "bad",
    [
        "postgresql://me:S7X@h/d\udcff",
        "postgresql://me:S7X%E9@h/d",
        "postgresql://me:S7X%FF@h/d?schema=x",
        "host=h dbname=\udce9 password=S7X",
        "postgresql://me:S7X@h/d\0rest",
    ],
)
def test_bytes_that_libpq_or_python_cannot_take_are_a_wrong_argument(bad: str) -> None:
    with pytest.raises(PlanError, match=r"no UTF-8.*PGPASSWORD") as caught:
        parse_url(bad)
    assert "S7X" not in str(caught.value)


# What people really type: a password with characters that a URL wants escaped.


@pytest.mark.parametrize(
    "password", ["S7X@S7X", "S7X@@S7X", "S7X/S7X", "S7X/@S7X", "S7X?S7X", "S7X#S7X", "S7X:S7X", "/S7X"]
)
def test_a_password_that_should_have_been_escaped_is_not_shown(password: str) -> None:
    """libpq takes the rest of it for a host, a port or a database."""
    url = f"postgresql://me:{password}@host.example/db"
    assert "S7X" not in shown_of(url)


def test_an_unreachable_server_is_named_without_a_password_that_should_have_been_escaped() -> None:
    error = psycopg.OperationalError("connection failed: failed to resolve host 'S7X@localhost': not known")
    try:
        shown = str(unreachable("postgresql://me:S7X@S7X@localhost/db", error))
    except PlanError as refusal:
        shown = str(refusal)
    assert "S7X" not in shown


def test_scram_keys_are_as_good_as_a_password_and_not_shown() -> None:
    for name in ("scram_client_key", "scram_server_key"):
        assert "S7X" not in shown_of(f"postgresql://me@host/db?{name}=S7X")


def test_an_unreachable_server_is_named_with_what_to_check() -> None:
    error = psycopg.OperationalError("connection failed: server closed the connection\n\tIs it running?")
    assert str(unreachable("host=h user=me password=S7X", error)) == (
        "cannot connect to postgresql://me:***@h/: server closed the connection. "
        "Check that the server runs and that host, port, user and database are right"
    )
    assert unreachable("host=h", psycopg.OperationalError()).exit_code == 3


@pytest.mark.parametrize(
    "url", ["postgresql://me:p%20w@h/db?connect_timeout=3", "host=h password='p w' connect_timeout=3"]
)
def test_our_settings_go_where_the_string_does_not_set_them(url: str) -> None:
    made = conninfo_to_dict(connection_string(url, "vestige-migrate 1"))
    assert made["password"] == "p w"
    assert (str(made["connect_timeout"]), made["application_name"]) == ("3", "vestige-migrate 1")
    assert {name: str(made[name]) for name in ("keepalives_idle", "keepalives_interval", "keepalives_count")} == {
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
    }
    assert conninfo_to_dict(connection_string("application_name=mine", "ours"))["application_name"] == "mine"


@pytest.mark.parametrize(
    "given_",
    [
        "postgresql://me:S7X/db",  # the host forgotten: libpq takes the password for the port
        "postgresql://me:1234567/db",
        "postgresql://me:12/3?user=x@host/db",
        "postgresql://me:p@h?user=S7X@host/db",
        "host=h port=S7X",
        "host=h dbname=postgresql://me:S7X@host/db",
        "host=postgresql://me:S7X@host/db",
    ],
)
def test_what_may_be_a_piece_of_a_password_is_refused_with_what_to_write(given_: str) -> None:
    with pytest.raises(PlanError, match=r"write @ as %40.*PGPASSWORD") as caught:
        parse_url(given_)
    assert "S7X" not in str(caught.value)
    assert "1234567" not in str(caught.value)


@pytest.mark.parametrize(
    "given_",
    [
        "postgresql://me:p?w#x:y@host/db",
        "postgresql://me@host/db%401",
        "postgresql://me:pw@h1:1,h2/db?options=-csearch_path%3Dx",
        "host=h password='p@w/x://y' user=me@work dbname=a@b",
    ],
)
def test_what_libpq_reads_as_it_was_meant_is_taken(given_: str) -> None:
    assert parse_url(given_) == conninfo_to_dict(given_)


# What else may hold a secret.


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ("postgresql://me@h/db?options=-c%20app.password%3DS7X", "postgresql://me@h/db?options=***"),
        ("host=h options='--app.token=S7X -c search_path=x'", "postgresql://h/?options=***"),
        ("host=h options=endpoint%3Dep-1%3BS7X", "postgresql://h/?options=***"),
        ("host=h oauth_issuer=https://me:S7X@issuer/", "postgresql://h/?oauth_issuer=***"),
        ("host=h sslkey='pkcs11:token=t?pin-value=S7X'", "postgresql://h/?sslkey=***"),
        ("host=h sslcert='pkcs11:object=o;S7X?pin-value=S7X'", "postgresql://h/?sslcert=***"),
        ("host=h sslkey=/home/me/key.pem sslcert=../my.crt", "postgresql://h/?sslcert=../my.crt&sslkey=/home/me/key.pem"),
    ],
)  # fmt: skip
def test_a_secret_in_another_parameter_is_not_shown(given_: str, shown: str) -> None:
    assert display_url(given_) == shown


def test_every_parameter_is_masked_unless_it_is_known_to_be_none() -> None:
    """A later libpq may bring one that holds a secret; what libpq itself calls a password is never shown."""
    masked = []
    for option in Conninfo.get_defaults():
        name = option.keyword.decode()
        value = "5433" if name == "port" else "S7X"
        try:
            if "S7X" not in display_url(f"{name}={value}") and name != "port":
                masked.append(name)
        except PlanError:
            continue
        assert name in masked or option.dispchar != b"*", name
    assert {"password", "sslpassword", "options"} <= set(masked)
    assert not {"user", "host", "sslmode", "passfile", "service", "application_name"} & set(masked)


SECRET_URL = "postgresql://me:S7X@127.0.0.1:1/db?options=-c%20app.token%3DS7X"


def test_no_repr_shows_a_url_or_a_key(tmp_path: Path) -> None:
    plan = SqliteToPostgresPlan(tmp_path / "v.db", SECRET_URL)
    cipher = Cipher("S7X")
    source = SourceFile(tmp_path / "v.db", cipher=cipher)
    nothing: Any = None
    worker = WorkerConfig(source, SECRET_URL, "name", 1.0, CopyJob(nothing, 1, 1, datetime.now(UTC)))
    home = Home(SECRET_URL, nothing)
    things = [
        plan, replace(plan, workers=3), [plan], partial(run_sqlite_to_postgres, plan), cipher, source, worker,
        home, replace(worker, home=home),
        ReadyDestination(nothing, nothing, nothing, nothing, nothing, fresh=False),
        OpenDestination(nothing, nothing, home, nothing),
        EmbeddedServer(tmp_path, SECRET_URL, f"psql '{SECRET_URL}'"),
    ]  # fmt: skip
    for thing in things:
        for text in (repr(thing), str(thing), f"{thing}"):
            assert "S7X" not in text
    assert str(tmp_path / "v.db") in repr(plan)


def test_no_traceback_with_its_variables_shows_a_password(tmp_path: Path) -> None:
    """As the error pages of frameworks have them, which print the variables of each of the caller's frames."""

    def callers_own() -> None:
        plan = SqliteToPostgresPlan(tmp_path / "none.db", SECRET_URL)
        again = [plan]
        run_sqlite_to_postgres(again[0])

    with pytest.raises(SourceUnusable) as caught:
        callers_own()
    summary = traceback.StackSummary.extract(traceback.walk_tb(caught.value.__traceback__), capture_locals=True)
    own = [frame for frame in summary if frame.name == "callers_own"]
    assert "plan" in str(own[0].locals)
    assert "S7X" not in "".join(str(frame.locals) for frame in own)


@pytest.mark.parametrize("url", ["postgresql://me:{0}@host/db", "postgres://:{0}@[::1]:1/db", "https://u:{0}@h?x=y@z"])
def test_a_url_in_the_wrong_place_leaves_no_password_in_a_report(url: str) -> None:
    """As a path it has one slash less."""
    given = url.format("geheim:7@7")
    facts = RunFacts.of("copy", False, [Path(given)], f"embedded:{given}")
    failure = Failure("UsageError", f"Got unexpected extra argument ({given}) (see --help)", 2)
    told = str([facts.as_json(), failure.as_json()])
    assert "geheim" not in told
    assert "7@" not in told
    assert told.count(":***@") == 3


# Parameters of other programs, which libpq refuses.


@pytest.mark.parametrize(
    ("string", "named"),
    [
        ("postgresql://h/d?schema=public&sslmode=require&pgbouncer=true", "(schema, pgbouncer)"),
        ("postgres://me:p?x=1@h:5432/d?connect_timeout=3&%70ool_timeout=0", "(pool_timeout)"),
        ("postgresql://h/d?one=1&two=true&three=x", "(one, two, three)"),
        ("host=h user=me  application='a b' connection_limit = 3", "(application, connection_limit)"),
        ("hostt=h dbname=d", "(hostt)"),
        ("postgresql://h/d?password=pw&other=1&schema=x", "(schema, 1 not shown"),
        ("host=h password=two words=3 pgbouncer=true", "(pgbouncer, 1 not shown"),
    ],
)
def test_a_parameter_that_libpq_does_not_know_is_named(string: str, named: str) -> None:
    with pytest.raises(PlanError, match=rf"parameters that libpq does not know {re.escape(named)}") as caught:
        display_url(string)
    assert caught.value.exit_code == 2


def test_what_libpq_takes_for_other_programs_is_taken() -> None:
    assert parse_url("postgresql://h/d?ssl=true&application_name=x")["sslmode"] == "require"
