"""From a URL to a store: the lock, the version of SQLite, the schema, the identity key."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from strangler.domain.errors import OperatorError
from strangler.ports import Committed, Lease
from strangler.store.ids import id_bytes
from strangler.store.memory import MemoryStore
from strangler.store.open import open_ledgers, open_store, store_path
from strangler.store.sealing import KEY_BYTES, AesGcmSealer, load_identity_key
from strangler.store.sqlite import library as library_module
from strangler.store.sqlite.connection import open_reader, open_writer
from strangler.store.sqlite.library import Library, choose_library, is_sound
from strangler.store.sqlite.lock import OwnerLock
from strangler.store.sqlite.migrations import _FILES, migrate, statements
from strangler.store.sqlite.store import SqliteStore
from tests.store import builders as make
from tests.store.builders import FakeClock, after
from tests.store.test_conformance import done

SEALER = AesGcmSealer(b"k" * 32)


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/strangler.db"


# ── URLs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_url_names_an_absolute_or_a_relative_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert store_path("sqlite:///strangler.db") == tmp_path / "strangler.db"
    assert store_path("sqlite:////var/lib/strangler.db") == Path("/var/lib/strangler.db")
    assert store_path("memory:") is None


@pytest.mark.parametrize(
    "url", ["", "strangler.db", "sqlite:strangler.db", "sqlite:///", "sqlite:///folder/", "redis://h"]
)
def test_a_url_of_no_store_is_refused_with_what_is_expected(url: str) -> None:
    with pytest.raises(OperatorError, match=r"expected sqlite:///relative\.db"):
        store_path(url)


def test_a_postgres_url_is_refused_as_not_available_yet() -> None:
    with pytest.raises(OperatorError, match="not available yet"):
        store_path("postgresql://user:secret@host/db")


def test_a_mistyped_url_is_shown_without_its_password() -> None:
    with pytest.raises(OperatorError) as refused:
        store_path("mysql://user:secret@host/db")
    assert "secret" not in str(refused.value)
    assert "host/db" in str(refused.value)


async def test_the_memory_store_says_where_it_is(clock: FakeClock) -> None:
    store = open_store("memory:", SEALER, clock)
    assert isinstance(store, MemoryStore)
    assert (store.location, store.wal_size(), store.refusal()) == ("memory:", 0, None)


async def test_the_file_is_named_by_its_absolute_path_and_only_its_owner_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///strangler.db", SEALER, clock)
    assert store.location == str(tmp_path / "strangler.db")
    assert store.software.startswith("SQLite 3.")
    await done(store, make.accept())
    for end in ("", "-wal", "-shm", ".lock"):
        assert stat.S_IMODE(os.stat(tmp_path / f"strangler.db{end}").st_mode) == 0o600, end
    await store.close()


def test_a_folder_that_is_not_there_is_an_operators_error(tmp_path: Path, clock: FakeClock) -> None:
    with pytest.raises(OperatorError, match="No such file"):
        open_store(url_of(tmp_path / "nowhere"), SEALER, clock)


# ── One owner ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_second_owner_is_refused_and_told_who_the_first_is(tmp_path: Path, clock: FakeClock) -> None:
    store = open_store(url_of(tmp_path), SEALER, clock)
    with pytest.raises(OperatorError) as refused:
        open_store(url_of(tmp_path), SEALER, clock)
    assert f"process {os.getpid()}" in str(refused.value)
    assert str(tmp_path / "strangler.db") in str(refused.value)
    await done(store, make.accept())
    await store.close()
    again = open_store(url_of(tmp_path), SEALER, clock)
    await again.close()


def test_another_process_is_refused_too(tmp_path: Path) -> None:
    lock = OwnerLock(tmp_path / "strangler.db")
    script = (
        "import sys\nfrom pathlib import Path\nfrom strangler.store.sqlite.lock import OwnerLock\n"
        "from strangler.domain.errors import OperatorError\n"
        "try:\n    OwnerLock(Path(sys.argv[1]))\nexcept OperatorError as error:\n    sys.exit(str(error))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "strangler.db")]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert f"process {os.getpid()}" in refused.stderr
    lock.release()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_who_holds_it_is_named_also_after_one_with_a_longer_number(tmp_path: Path) -> None:
    (tmp_path / "strangler.db.lock").write_text("9" * 20)
    OwnerLock(tmp_path / "strangler.db")
    with pytest.raises(OperatorError, match=rf"\(process {os.getpid()}\)"):
        OwnerLock(tmp_path / "strangler.db")


def test_whether_somebody_holds_it_is_seen_and_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "strangler.db"
    assert OwnerLock.held(file) is False
    lock = OwnerLock(file)
    assert OwnerLock.held(file) is True
    lock.release()
    assert OwnerLock.held(file) is False


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"is a folder; a store is a file in one, such as .*/strangler\.db"):
        store_path(f"sqlite:///{tmp_path}")


def test_a_lock_that_cannot_be_opened_is_not_taken_for_held(tmp_path: Path) -> None:
    (tmp_path / "strangler.db.lock").mkdir()
    with pytest.raises(OperatorError, match=r"strangler\.db\.lock: Is a directory"):
        OwnerLock.held(tmp_path / "strangler.db")


async def test_who_was_refused_at_opening_leaves_the_lock_free(tmp_path: Path, clock: FakeClock) -> None:
    file = tmp_path / "strangler.db"
    file.write_bytes(b"SQLite format 3\0".ljust(120, b"\0") + b"this is no database, though it begins like one" * 100)
    with pytest.raises(OperatorError, match="not a database"):
        open_store(url_of(tmp_path), SEALER, clock)
    file.unlink()
    store = open_store(url_of(tmp_path), SEALER, clock)
    await store.close()


async def test_leases_of_an_earlier_owner_are_void_at_once(tmp_path: Path, clock: FakeClock) -> None:
    store = open_store(url_of(tmp_path), SEALER, clock)
    claimed = after(await done(store, make.claim(after(await done(store, make.accept())), owner="w-1")))
    await store.renew(Lease("w-1", clock.boot_id, clock.boottime() + 15 * 10**9))
    assert list(await store.orphans(clock.boot_id, clock.boottime(), 10)) == []
    await store.close()
    again = open_store(url_of(tmp_path), SEALER, clock)
    assert list(await again.orphans(clock.boot_id, clock.boottime(), 10)) == [claimed]
    await again.close()


# ── SQLite ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("version", "sound"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 4), True),
    ],
)
def test_versions_that_can_lose_pages_are_known(version: tuple[int, int, int], sound: bool) -> None:
    assert is_sound(version) is sound
    assert ("no other program may write" in Library(None, version).name) is not sound


def test_the_library_that_brings_its_own_sqlite_is_preferred() -> None:
    assert choose_library().dbapi.__name__ == "pysqlite3.dbapi2"
    assert choose_library().sound
    assert choose_library("no.such.module", "sqlite3.dbapi2").dbapi.__name__ == "sqlite3.dbapi2"


def test_an_unsound_library_says_so() -> None:
    unsound = library_module.Library(None, (3, 40, 1))
    assert "no other program may write" in unsound.name


def test_a_library_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose_library("sqlite3.dbapi2").dbapi, "sqlite_version_info", (3, 31, 1))
    with pytest.raises(OperatorError, match="too old"):
        choose_library("sqlite3.dbapi2")
    with pytest.raises(OperatorError, match="no SQLite module"):
        choose_library("no.such.module")


@pytest.mark.parametrize("module", ["pysqlite3.dbapi2", "sqlite3.dbapi2"])
def test_a_reader_can_neither_write_nor_checkpoint(tmp_path: Path, module: str) -> None:
    library = choose_library(module)
    file = tmp_path / "strangler.db"
    writer = open_writer(file, library)
    migrate(writer, file)
    writer.run("INSERT INTO lease (owner, boot_id, until) VALUES ('a', 'b', 1)")
    reader = open_reader(file, library)
    with pytest.raises(library.dbapi.OperationalError):
        reader.run("DELETE FROM lease")
    log = (tmp_path / "strangler.db-wal").stat().st_size
    with pytest.raises(library.dbapi.OperationalError):
        reader.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (tmp_path / "strangler.db-wal").stat().st_size == log > 0
    reader.close()
    writer.close()


def test_the_writer_syncs_each_commit_and_checkpoints_by_itself_only(tmp_path: Path) -> None:
    library = choose_library()
    file = tmp_path / "strangler.db"
    writer = open_writer(file, library)
    migrate(writer, file)
    for pragma, value in [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("wal_autocheckpoint", 0),
        ("page_size", 4096),
        ("auto_vacuum", 2),
        ("busy_timeout", 5000),
    ]:
        assert writer.row(f"PRAGMA {pragma}") == (value,), pragma
    writer.close()


def test_all_tables_are_strict(tmp_path: Path) -> None:
    file = tmp_path / "strangler.db"
    writer = open_writer(file, choose_library())
    migrate(writer, file)
    tables = writer.rows(
        "SELECT name, wr, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE '%sqlite_%'"
    )
    assert len(tables) >= 15
    assert [name for name, _, strict in tables if not strict] == []
    without_rowid = {name for name, wr, _ in tables if wr}
    assert without_rowid == {
        *("idempotency", "attempt", "lease", "lookup", "tombstone"),
        *("delivery", "delivery_attempt", "receiver_pause", "pause", "route_order"),
    }
    writer.close()


# ── The schema ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_log_is_gone_when_it_is_closed_however_long_somebody_reads(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(url_of(tmp_path), SEALER, clock)
    assert isinstance(store, SqliteStore)
    await done(store, make.accept())
    close_scans, writer = store.close_scans, store._writer

    def slowly() -> None:
        writer._thread.join(0.2)  # a writer that did not wait would have ended by now
        close_scans()

    monkeypatch.setattr(store, "close_scans", slowly)
    await store.close()
    assert not (tmp_path / "strangler.db-wal").exists()


async def test_a_store_keeps_what_it_has_when_it_is_opened_again(tmp_path: Path, clock: FakeClock) -> None:
    store = open_store(url_of(tmp_path), SEALER, clock)
    accepted = await done(store, make.accept())
    await store.close()
    assert not (tmp_path / "strangler.db-wal").exists()
    again = open_store(url_of(tmp_path), SEALER, clock)
    assert await again.process(after(accepted).id) == after(accepted)
    assert await again.request(after(accepted).id) == make.request()
    assert await again.commit(make.accept()) == Committed()
    await again.close()


def edit(folder: Path, *texts: str) -> None:
    connection = choose_library().dbapi.connect(str(folder / "strangler.db"), isolation_level=None)
    for text in texts:
        connection.execute(text)
    connection.close()


def test_a_database_of_somebody_else_is_left_as_it_is(tmp_path: Path, clock: FakeClock) -> None:
    edit(tmp_path, "CREATE TABLE theirs (a)")
    with pytest.raises(OperatorError, match="is not a store of strangler: it is a SQLite database of something else"):
        open_store(url_of(tmp_path), SEALER, clock)
    assert [path.name for path in tmp_path.iterdir()] == ["strangler.db"]
    connection = choose_library().dbapi.connect(str(tmp_path / "strangler.db"))
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    connection.close()


def test_a_database_of_somebody_else_that_is_all_in_its_log_is_left_as_it_is(tmp_path: Path, clock: FakeClock) -> None:
    theirs = choose_library().dbapi.connect(str(tmp_path / "strangler.db"), isolation_level=None)
    theirs.execute("PRAGMA journal_mode = WAL")
    theirs.execute("CREATE TABLE theirs (a)")
    with pytest.raises(OperatorError, match="not one of strangler"):
        open_store(url_of(tmp_path), SEALER, clock)
    assert theirs.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    theirs.close()


@pytest.mark.parametrize(
    "content", [b"upstreams: {}\n", b"SQLite format 3\0".ljust(68, b"\0") + b"\0\0\0\1".ljust(60, b"\0")]
)
def test_what_is_no_store_is_not_said_to_have_lost_its_key(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "strangler.db"
    file.write_bytes(content)
    with pytest.raises(OperatorError, match="is not a store of strangler"):
        load_identity_key(None, store_path(url_of(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["strangler.db"]
    assert file.read_bytes() == content


async def test_a_file_of_a_newer_release_is_refused(tmp_path: Path, clock: FakeClock) -> None:
    await open_store(url_of(tmp_path), SEALER, clock).close()
    edit(
        tmp_path,
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('strangler', '9999_new', '')",
        "ALTER TABLE process ADD COLUMN shade TEXT",
    )
    with pytest.raises(OperatorError, match="newer release"):
        open_store(url_of(tmp_path), SEALER, clock)
    # What it may hold is not known here, so that nobody here can say that all is well.
    with pytest.raises(OperatorError, match="newer release"), open_ledgers(url_of(tmp_path)):
        pass


async def test_who_looks_at_a_file_of_an_earlier_release_is_told_so(tmp_path: Path, clock: FakeClock) -> None:
    await open_store(url_of(tmp_path), SEALER, clock).close()
    edit(
        tmp_path,
        "DELETE FROM _sqlite_migrations WHERE name = '0011_family'",
        "DROP INDEX tombstone_parent",
        "ALTER TABLE tombstone DROP COLUMN parent_id",
    )
    with pytest.raises(OperatorError, match=r"earlier release .*0011_family"), open_ledgers(url_of(tmp_path)):
        pass
    await open_store(url_of(tmp_path), SEALER, clock).close()
    with open_ledgers(url_of(tmp_path)) as ledgers:
        assert [*ledgers.all()] == []


async def test_a_schema_that_somebody_changed_is_refused(tmp_path: Path, clock: FakeClock) -> None:
    await open_store(url_of(tmp_path), SEALER, clock).close()
    edit(tmp_path, "DROP INDEX process_due")
    with pytest.raises(OperatorError, match="process_due"):
        open_store(url_of(tmp_path), SEALER, clock)


async def test_an_index_that_an_operator_added_may_stay(tmp_path: Path, clock: FakeClock) -> None:
    await open_store(url_of(tmp_path), SEALER, clock).close()
    edit(tmp_path, "CREATE INDEX mine ON process (correlation_id)")
    await open_store(url_of(tmp_path), SEALER, clock).close()


def test_a_migration_that_failed_half_way_is_done_whole_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, file = choose_library(), tmp_path / "strangler.db"
    writer = open_writer(file, library)
    whole = list(statements("0001_first.sql"))
    with monkeypatch.context() as patch:
        patch.setattr(
            "strangler.store.sqlite.migrations.statements", lambda _name: [*whole[:5], "CREATE TABLE process (again)"]
        )
        with pytest.raises(library.dbapi.OperationalError):
            migrate(writer, file)
    assert writer.rows("SELECT name FROM sqlite_schema WHERE name = 'process'") == []
    writer.close()
    writer = open_writer(file, library)
    migrate(writer, file)
    migrate(writer, file)
    assert writer.row("SELECT count(*) FROM _sqlite_migrations") == (len(_FILES),)
    writer.close()


async def test_a_store_of_an_older_release_is_brought_up_to_date_with_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    writer = open_writer(tmp_path / "strangler.db", choose_library())
    with monkeypatch.context() as patch:
        patch.setattr("strangler.store.sqlite.migrations._FILES", ("0001_first.sql",))
        migrate(writer, tmp_path / "strangler.db")
    accepted = make.accept()
    written_then = after(accepted)
    columns = [name for (name,) in writer.rows("SELECT name FROM pragma_table_info('process')")]
    values = {
        **written_then._asdict(),
        "id": id_bytes(written_then.id),
        "promised": 1,
        "state": "received",
        "retain_until_at": None,
    }
    marks = ", ".join("?" * len(columns))
    writer.run(
        f"INSERT INTO process ({', '.join(columns)}) VALUES ({marks})",
        [int(value) if isinstance(value, bool) else value for value in map(values.get, columns)],
    )
    writer.close()
    store = open_store(url_of(tmp_path), SEALER, clock)
    assert await store.process(written_then.id) == written_then
    assert written_then.had_credentials is None, "nobody kept it then"
    assert list(await store.due("submit-claim", make.NOON, 10)) == [written_then]
    await done(store, make.claim(written_then))
    await store.close()


# ── Keys and seals ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_identity_key_is_made_once_beside_the_store(tmp_path: Path) -> None:
    store = tmp_path / "strangler.db"
    key = load_identity_key(None, store)
    assert len(key) == KEY_BYTES
    assert load_identity_key(None, store) == key
    file = tmp_path / "strangler.db.identity-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_no_second_identity_key_is_made_for_a_store_that_is_there(tmp_path: Path) -> None:
    store, file = tmp_path / "s.db", tmp_path / "s.db.identity-key"
    store.write_bytes(b"SQLite format 3\0")
    with pytest.raises(OperatorError, match="is there, and its key is not"):
        load_identity_key(None, store)
    assert not file.exists()
    file.write_text("ab" * KEY_BYTES + "\n")
    assert load_identity_key(None, store) == b"\xab" * KEY_BYTES
    file.unlink()
    store.write_bytes(b"")  # somebody else's `touch`
    assert len(load_identity_key(None, store)) == KEY_BYTES


def test_a_given_identity_key_is_taken_without_its_line_end(tmp_path: Path) -> None:
    assert load_identity_key("0123456789abcdef\n", tmp_path / "s.db") == b"0123456789abcdef"
    assert load_identity_key(b"\xff" * 16, tmp_path / "s.db") == b"\xff" * 16
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OperatorError, match="at least 16"):
        load_identity_key("short", tmp_path / "s.db")


def test_what_stands_in_the_place_of_an_identity_key_is_told_what_it_is_to_be(tmp_path: Path) -> None:
    (tmp_path / "s.db.identity-key").mkdir()
    with pytest.raises(OperatorError, match=r"s\.db\.identity-key: Is a directory; it is to hold the key of the store"):
        load_identity_key(None, tmp_path / "s.db")


def test_without_a_store_each_identity_key_is_new() -> None:
    assert load_identity_key(None, None) != load_identity_key(None, None)


@pytest.mark.parametrize("text", ["", "xyz", "ab" * 31])
def test_a_broken_identity_key_file_is_never_replaced(tmp_path: Path, text: str) -> None:
    file = tmp_path / "s.db.identity-key"
    file.write_text(text)
    with pytest.raises(OperatorError, match="expected"):
        load_identity_key(None, tmp_path / "s.db")
    assert file.read_text() == text


def test_an_identity_key_that_cannot_be_made_is_an_operators_error(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"nowhere: there is no such folder for a store; make it$"):
        load_identity_key(None, tmp_path / "nowhere" / "s.db")


def test_of_two_who_make_an_identity_key_at_once_both_use_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, link = tmp_path / "s.db", os.link

    def slow_link(source: Path, target: Path) -> None:
        Path(target).write_text("cd" * KEY_BYTES)  # the other one was here a moment ago
        link(source, target)

    monkeypatch.setattr(os, "link", slow_link)
    assert load_identity_key(None, store) == b"\xcd" * KEY_BYTES
    assert [path.name for path in tmp_path.iterdir()] == ["s.db.identity-key"]


def test_no_nonce_is_used_twice_over_many_draws_and_over_a_fork() -> None:
    sealer = AesGcmSealer(b"k" * 32)
    used = {sealer.seal(b"", b"")[:12] for _ in range(1000)}
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads beside a fork
        child = os.fork()
    if child == 0:
        os.write(writing, b"".join(sealer.seal(b"", b"")[:12] for _ in range(100)))
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        drawn = pipe.read()
    used.update(drawn[start : start + 12] for start in range(0, len(drawn), 12))
    used.update(sealer.seal(b"", b"")[:12] for _ in range(100))
    assert len(used) == 1200


def test_what_is_sealed_opens_with_its_key_and_context_only() -> None:
    sealed = SEALER.seal(b"secret", b"process 1")
    assert b"secret" not in sealed
    assert SEALER.seal(b"secret", b"process 1") != sealed
    assert SEALER.open(sealed, b"process 1") == b"secret"
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for sealer, data, context in [
        (AesGcmSealer(b"other key of some length"), sealed, b"process 1"),
        (SEALER, sealed, b"process 2"),
        (SEALER, changed, b"process 1"),
        (SEALER, b"", b"process 1"),
    ]:
        assert sealer.open(data, context) is None


async def test_no_credential_lies_in_the_files_in_clear(tmp_path: Path, clock: FakeClock) -> None:
    store = open_store(url_of(tmp_path), SEALER, clock)
    await done(store, make.accept())
    for file in tmp_path.iterdir():
        assert b"s3cret" not in file.read_bytes(), file
    await store.close()
    for file in tmp_path.iterdir():
        assert b"s3cret" not in file.read_bytes(), file


async def test_with_another_identity_key_the_credentials_do_not_open(tmp_path: Path, clock: FakeClock) -> None:
    store = open_store(url_of(tmp_path), SEALER, clock)
    accepted = await done(store, make.accept())
    await store.close()
    other = open_store(url_of(tmp_path), AesGcmSealer(b"another key" * 3), clock)
    assert await other.process(after(accepted).id) == after(accepted)
    request = await other.request(after(accepted).id)
    assert request is not None
    assert request.credentials is None
    assert b"s3cret" not in repr(request).encode()
    await other.close()
