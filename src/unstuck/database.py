"""A SQLite file that may be opened by several programs at once, and any of them killed at any moment.

It is made whole or not at all, says what it is and in which version, is changed in transactions that take its one lock
at their beginning, and puts SQLite's errors into sentences.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from unstuck.errors import InputError

Journal = Literal["wal", "delete"]

WAIT = 30.0
"""Seconds for which another program's lock is waited for."""

PAUSE = 0.05
"""Seconds between tries where SQLite does not wait by itself."""

MOUNTS = Path("/proc/self/mounts")

NETWORKS = ("nfs", "cifs", "smb", "afs", "9p", "ceph", "lustre", "gpfs", "beegfs", "fuse.")
"""Beginnings of names of file systems whose machines may share no memory, which SQLite's write-ahead log needs."""

ADVICE = {
    "SQLITE_FULL": "the disk is full; make room and run again, what is done is kept",
    "SQLITE_IOERR": "the disk cannot be read or written; see to it and run again, what is done is kept",
    "SQLITE_BUSY": "another program holds it for long; let that end and run again",
    "SQLITE_READONLY": "it may not be written to; give another place",
    "SQLITE_CANTOPEN": "it cannot be opened or made there; give another place",
    "SQLITE_NOTADB": "it is something else; give another place",
    "SQLITE_CORRUPT": "it is damaged; move it away and run again",
}
"""What to do about SQLite's errors, by the beginnings of their names."""


class Database:
    """An open file, for the thread that opened it.

    Args:
        path: the file; made where there is none, with its folder.
        what: it is, as errors call it.
        mark: a number that tells such files from other programs'.
        schema: the version of ``table``.
        table: the statement that makes its table.
        journal: ``wal``, or ``delete`` on network file systems, where one program may write at a time. By default
            the file system decides.

    Raises:
        InputError: it is something else, or of another version. Here and in blocks of :meth:`explained` and
            :meth:`writing`: the disk is full, the file is locked for long, and the like.
    """

    def __init__(
        self, path: Path, *, what: str, mark: int, schema: int, table: str, journal: Journal | None = None
    ) -> None:
        self.path = path
        self.what = what
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{what} {path}: its folder cannot be made ({error.strerror}); give another place"
            ) from error
        with self.explained():
            self.connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
            try:
                self._check_or_make(mark, schema, table)
                self._set_journal(journal or ("delete" if on_network(path) else "wal"))
            except BaseException:
                self.connection.close()
                raise

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of the block or nothing."""
        with self.explained():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:  # SQLite ends one by itself where the disk is full
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Errors in a sentence."""
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            advice = next((said for known, said in ADVICE.items() if name.startswith(known)), str(error))
            raise InputError(f"{self.what} {self.path}: {advice}") from error

    def _check_or_make(self, mark: int, schema: int, table: str) -> None:
        if self._is_new():
            with self.writing() as connection:
                if self._is_new():  # still: of several programs, one makes it
                    connection.execute(table)
                    connection.execute(f"PRAGMA application_id = {mark}")
                    connection.execute(f"PRAGMA user_version = {schema}")
        if self._number("PRAGMA application_id") != mark:
            raise InputError(f"{self.what} {self.path}: it is another program's database; give another place")
        version = self._number("PRAGMA user_version")
        if version != schema:
            raise InputError(
                f"{self.what} {self.path}: it is of version {version}, and this unstuck knows version {schema}; "
                "give another place, or use the unstuck that made it"
            )

    def _is_new(self) -> bool:
        return self._number("PRAGMA application_id") == self._number("SELECT COUNT(*) FROM sqlite_master") == 0

    def _number(self, question: str) -> int:
        answer: int = self.connection.execute(question).fetchone()[0]
        return answer

    def _set_journal(self, journal: Journal) -> None:
        """The mode is kept in the file; to change it takes a moment in which no other program writes."""
        if self.journal == journal:
            return
        until = time.monotonic() + WAIT
        while True:
            try:
                self.connection.execute(f"PRAGMA journal_mode = {journal}")
                return
            except sqlite3.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(PAUSE)

    @property
    def journal(self) -> str:
        """The mode that the file is in."""
        mode: str = self.connection.execute("PRAGMA journal_mode").fetchone()[0]
        return mode


def on_network(path: Path) -> bool:
    """Whether a path seems to be on a network file system; where the system does not tell, it is not."""
    if not MOUNTS.is_file():
        return False
    mounts = [line.split()[1:3] for line in MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()]
    there = path.resolve()
    above = [(len(place), kind) for place, kind in mounts if there.is_relative_to(place.replace("\\040", " "))]
    return max(above, default=(0, ""))[1].startswith(NETWORKS)
