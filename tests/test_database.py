"""The file of a ledger: its journal, what it is mistaken for, a full disk."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from unstuck import database
from unstuck.database import Journal
from unstuck.errors import InputError
from unstuck.ledger import Ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def opened(path: Path, journal: Journal | None = None) -> bool:
    """Opened, and closed again; gives whether several drivers may share it."""
    with Ledger(path, journal=journal) as ledger:
        return ledger.shared


def journal(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        mode: str = connection.execute("PRAGMA journal_mode").fetchone()[0]
        return mode


@pytest.mark.parametrize(
    ("mount", "expected"),
    [("ext4", "wal"), ("nfs4", "delete"), ("fuse.sshfs", "delete"), ("cifs", "delete")],
)
def test_no_shared_memory_on_network_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: str, expected: str
) -> None:
    mounts, folder = tmp_path / "mounts", tmp_path / "a folder"
    place = str(folder).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nhost:/x {place} {mount} rw 0 0\nhost:/y {place}s nfs rw 0 0\n")
    monkeypatch.setattr(database, "MOUNTS", mounts)
    path = folder / "ledger.sqlite"
    assert opened(path) == (expected == "wal")
    assert journal(path) == expected
    assert not opened(path, "delete")
    assert journal(path) == "delete"
    monkeypatch.setattr(database, "MOUNTS", tmp_path / "none")
    opened(path)
    assert journal(path) == "wal"


def test_the_journal_waits_for_those_who_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(path, "delete")
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(database, "WAIT", 0.0)
        with pytest.raises(InputError, match="another program holds it"):
            Ledger(path, journal="wal")
        monkeypatch.setattr(database, "WAIT", 60.0)
        monkeypatch.setattr(time, "sleep", lambda seconds: writer.execute("ROLLBACK"))
        opened(path, "wal")
    assert journal(path) == "wal"


def text(path: Path) -> None:
    path.write_text("no ledger at all\n" * 100)


def folder(path: Path) -> None:
    path.mkdir()


def stranger(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name)")


def later(path: Path) -> None:
    opened(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (text, "it is something else; give another place"),
        (folder, "it cannot be opened or made there; give another place"),
        (stranger, "it is another program's database; give another place"),
        (later, "it is of version 7, and this unstuck knows version 1; give another place"),
    ],
)
def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path, made: Any, says: str) -> None:
    path = tmp_path / "ledger.sqlite"
    made(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(InputError, match=says) as raised:
        Ledger(path)
    assert str(raised.value).startswith(f"ledger {path}: ")
    assert before == (path.read_bytes() if path.is_file() else b"")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="its folder cannot be made"):
        Ledger(tmp_path / "file" / "ledger.sqlite")


def test_a_full_disk_is_told_of_and_keeps_what_is_done(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def small(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)
        connection.execute("PRAGMA max_page_count = 8")
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", small)
        with Ledger(path) as ledger:
            ledger.enter([{"x": 0}, {"x": 1}])
            one, two = ledger.claim(2)
            assert ledger.finish(one.key, "short", seconds=1.0, threads=1)
            with pytest.raises(InputError, match="the disk is full; make room and run again"):
                ledger.finish(two.key, "long" * 20_000, seconds=1.0, threads=1)
            ledger.release()
    with Ledger(path) as ledger:
        assert [(row.state, row.result) for row in ledger.rows()] == [("done", "short"), ("open", None)]
        assert ledger.finish(ledger.claim()[0].key, "long" * 20_000, seconds=1.0, threads=1)
