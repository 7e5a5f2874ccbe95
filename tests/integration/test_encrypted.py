"""Encrypted sources: copied like any other, and the key is nowhere but in its variable."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import CommandLine, Copier
from tests.integration.test_several import several
from tests.support.compare import assert_same, stored
from tests.support.encrypted import MAGIC, decrypt, encrypt, open_encrypted
from tests.support.running import RunningCopy, blocked_sessions, held_row
from tests.support.sources import SourceSpec, build_source, edit, node_id
from tests.support.verifying import Verifier
from vestige_migrate import OnConflict, SourceUnusable
from vestige_migrate.source.file.private_copies import PREFIX
from vestige_migrate.source.sqlite.connect import SourceFile
from vestige_migrate.source.sqlite.driver import Cipher

KEY = """geheim's "77" schlüssel;--"""
RAW_KEY = "x'" + "2D" * 32 + "'"
"""What SQLCipher makes of a passphrase, in 0.2 s for every connection: for tests that are not about a passphrase."""
VARIABLE = "VESTIGE_ENCRYPTION_KEY"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture
def raw_key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(VARIABLE, RAW_KEY)
    return RAW_KEY


@pytest.mark.parametrize(
    ("spec", "page_size"),
    [
        (SourceSpec(memories=300), 4096),
        (SourceSpec(form="vestige").sized(60), 8192),
        (SourceSpec(line="released", version=35).sized(60), 1024),
    ],
    ids=["plain tables", "own storage", "released line"],
)
def test_every_row_arrives(tmp_path: Path, copy: Copier, raw_key: str, spec: SourceSpec, page_size: int) -> None:
    plain = build_source(tmp_path / "vestige.db", spec)
    encrypted = encrypt(plain, raw_key, page_size)
    before = encrypted.read_bytes()
    report = copy(encrypted, batch_size=50)
    assert (report.errors, report.memories_copied) == ([], spec.memories)
    assert_same(plain, copy.database)
    again = copy(encrypted)
    assert again.tables["knowledge_nodes"].inserted == 0
    assert again.complete
    assert Verifier(copy.database)(encrypted).same
    assert encrypted.read_bytes() == before


def test_rows_that_are_only_in_the_wal_and_texts_that_are_no_utf8(source: Path, copy: Copier, raw_key: str) -> None:
    broken = ("UPDATE knowledge_nodes SET content = CAST(X'61FF62' AS TEXT) WHERE id = ?", (node_id(source, 3),))
    edit(source, broken)
    encrypted = encrypt(source, raw_key)
    with closing(open_encrypted(encrypted, raw_key)) as vestige:
        vestige.execute("PRAGMA journal_mode = WAL").fetchone()
        vestige.execute("UPDATE knowledge_nodes SET codebase = 'in the wal'")
        vestige.commit()
        assert encrypted.with_name(f"{encrypted.name}-wal").stat().st_size > 0
        report = copy(encrypted, archive=True)
    assert [(error.id, error.column) for error in report.errors] == [(node_id(source, 3), "content")]
    assert {row["codebase"] for row in stored(copy.database)["knowledge_nodes"].values()} == {"in the wal"}


def test_plain_and_encrypted_files_together_and_newer_rows(
    tmp_path: Path, source: Path, copy: Copier, raw_key: str
) -> None:
    spec = SourceSpec(
        memories=10, schedules=10, edges=0, events=0, extra_users=0, groups=0, memberships=0, domains=0, seed=8
    )
    plain = build_source(tmp_path / "other.db", spec)
    encrypted = encrypt(source, raw_key)
    report = several(copy, plain, encrypted, dry_run=True)
    assert report.reports[1].tables["knowledge_nodes"].source_rows == 40
    assert several(copy, plain, encrypted).complete
    assert Verifier(copy.database)(plain, encrypted).same
    with closing(open_encrypted(encrypted, raw_key)) as vestige:
        vestige.execute("UPDATE knowledge_nodes SET content = 'newer', updated_at = '2031-01-01T00:00:00Z'")
        vestige.commit()
    assert copy(encrypted, on_conflict=OnConflict.NEWER).tables["knowledge_nodes"].updated == 40
    contents = [row["content"] for row in stored(copy.database)["knowledge_nodes"].values()]
    assert contents.count("newer") == 40


def test_an_older_file_is_upgraded_with_an_encrypted_backup(tmp_path: Path, copy: Copier, raw_key: str) -> None:
    plain = build_source(tmp_path / "vestige.db", SourceSpec(line="shared", version=13).sized(30))
    encrypted = encrypt(plain, raw_key, page_size=8192)
    assert copy(encrypted, snapshot=True, dry_run=True).memories_copied == 30
    before = encrypted.read_bytes()
    report = copy(encrypted, allow_source_upgrade=True)
    assert (report.memories_copied, report.errors) == (30, [])
    (backup,) = tmp_path.glob("*-backup-*")
    assert backup.stat().st_mode & 0o777 == 0o600
    assert not backup.read_bytes().startswith(MAGIC)
    assert len(backup.read_bytes()) == len(before)
    for path, version in ((backup, 13), (encrypted, 15)):
        with closing(open_encrypted(path, raw_key, 8192)) as opened:
            assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert opened.execute("SELECT MAX(version) FROM schema_version").fetchone() == (version,)
    assert_same(decrypt(encrypted, raw_key, 8192, tmp_path / "decrypted.db"), copy.database)


def test_the_snapshot_is_encrypted_and_the_key_is_nowhere(
    source: Path, copy: Copier, command: CommandLine, tmp_path: Path
) -> None:
    copy(build_source(tmp_path / "empty.db", SourceSpec(memories=0, schedules=0, edges=0, events=0)))
    content = "the only content of its kind"
    edit(source, ("UPDATE knowledge_nodes SET content = ?", (content,)))
    encrypted = encrypt(source, KEY, page_size=8192)
    snapshots = tmp_path / "snapshots"
    snapshots.mkdir()
    log, report = tmp_path / "run.log", tmp_path / "report.json"
    with held_row(copy.database, node_id(source, 5)):
        run = RunningCopy.start(
            "--sqlite-path", encrypted, "--postgres-url", copy.database, "--workers", "2", "--snapshot", "--debug",
            "--log-level", "DEBUG", "--log-file", log, "--report", report,
            environment=command.environment(TMPDIR=str(snapshots), **{VARIABLE: KEY}),
        )  # fmt: skip
        run.wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        (private,) = snapshots.glob(f"{PREFIX}*")
        (snapshot,) = private.glob("*.db")
        written = snapshot.read_bytes()
        shown = [" ".join(process.cmdline()) for process in run.descendants()]
    code, out, err = run.finish()
    assert code == 0, err
    assert not written.startswith(MAGIC)
    assert content.encode() not in written
    assert list(snapshots.glob(f"{PREFIX}*")) == []
    assert_same(source, copy.database)
    texts = [out, err, log.read_text(), report.read_text(), *shown]
    assert len(shown) > 2
    assert not any("geheim" in text for text in texts)


def refused(command: CommandLine, path: Path, **environment: str) -> str:
    arguments = ("copy", "--sqlite-path", path, "--postgres-url", "host=127.0.0.1 port=1", "--debug")
    done = command(*arguments, **environment)
    assert done.returncode == 3, done.stderr
    assert "geheim" not in done.stderr
    return done.stderr


@pytest.mark.in_process
def test_without_the_extra_without_the_key_and_with_a_wrong_one(
    source: Path, command: CommandLine, process: CommandLine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    encrypted = encrypt(source, KEY)
    no_extra = tmp_path / "no-extra"
    no_extra.mkdir()
    (no_extra / "sitecustomize.py").write_text("import sys\nsys.modules['sqlcipher3'] = None\n")
    broken = tmp_path / "broken" / "sqlcipher3"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('no such library')\n")
    found = [
        (refused(process, encrypted, **{VARIABLE: KEY, "PYTHONPATH": str(no_extra)}), "vestige-migrate[sqlcipher]"),
        (refused(process, encrypted, **{VARIABLE: KEY, "PYTHONPATH": str(broken.parent)}), "is not installed"),
        (refused(command, encrypted), f"{VARIABLE}, set the same key here"),
        (refused(command, encrypted, **{VARIABLE: "geheim?"}), f"the key in {VARIABLE} does not open"),
        (refused(command, encrypted, **{VARIABLE: "geheim\udcff"}), "is no valid UTF-8"),
    ]
    for text, words in found:
        assert words in text
        assert len([line for line in text.splitlines() if line.startswith("error:")]) == 1
    assert "ERROR CORE" not in "".join([*capfd.readouterr(), *(text for text, _ in found)]), "SQLCipher's own log"


def test_a_plain_file_needs_no_key_though_one_is_set(source: Path, copy: Copier) -> None:
    assert copy(source).complete
    assert_same(source, copy.database)


def test_damage_is_not_taken_for_a_wrong_key(source: Path, copy: Copier, raw_key: str) -> None:
    encrypted = encrypt(source, raw_key)
    data = bytearray(encrypted.read_bytes())
    data[len(data) // 2] ^= 0xFF
    encrypted.write_bytes(data)
    with pytest.raises(SourceUnusable, match=r"corrupt SQLite database \(.*\): restore a backup$"):
        copy(encrypted)
    encrypted.write_bytes(data[:-1000])
    with pytest.raises(SourceUnusable, match="an encrypted one that was cut short"):
        copy(encrypted)


def test_what_is_no_database_is_not_taken_for_an_encrypted_one(tmp_path: Path, copy: Copier, raw_key: str) -> None:
    noise = tmp_path / "noise.db"
    noise.write_bytes(random.Random(1).randbytes(16_384))
    with pytest.raises(SourceUnusable, match=r"the key in .* \(or the file is no database at all\)"):
        copy(noise)
    for data in (bytes(8192), b"\x7fELF\x00 of an application " * 512, bytes(range(64)) * 128):
        noise.write_bytes(data)
        with pytest.raises(SourceUnusable, match="is no SQLite database: give"):
            copy(noise)


def test_no_repr_shows_the_key() -> None:
    file = SourceFile(Path("vestige.db"), cipher=Cipher(KEY, 8192))
    assert "8192" in repr(file)
    assert "geheim" not in repr(file)
