"""The ledger of many runs: one row each, in one SQLite file, so that running again is resuming.

A run is known by its settings alone: its key is the SHA-256 of their canonical JSON. Whatever a result depends on
belongs into them, the version of the code and the fingerprint of the data included. To enter a run that is there
already changes nothing.

    open ──claim──► running ──finish──► done
      ▲                │
      └───put back─────┴────────────► failed, once it was tried often enough

Only drivers write here; workers hand their results to their driver. A claim carries the name of its driver, who keeps
it alive by heartbeats: one that falls silent loses its claims, and what it brings afterwards is not accepted. Each
change is one transaction, so a driver may be killed at any moment, and several may share the work.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from unstuck.database import Database, Journal
from unstuck.errors import InputError

State = Literal["open", "running", "done", "failed"]

TRIES = 3
"""Claims of one run, at most: one that takes its worker down each time must end."""

STALE = 60.0
"""Seconds without a heartbeat after which a claim goes back."""

BEATS = 10
"""Heartbeats within that time."""

MARK = 0x756E7374  # "unst"
SCHEMA = 1
TABLE = """
CREATE TABLE runs (
    key TEXT PRIMARY KEY, settings TEXT NOT NULL, place INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'open', tries INTEGER NOT NULL DEFAULT 0, owner TEXT, heartbeat REAL,
    result TEXT, error TEXT, seconds REAL, threads INTEGER
)
"""

ENTER = "INSERT OR IGNORE INTO runs (key, settings, place) VALUES (?, ?, ?)"
TAKE = "UPDATE runs SET state = 'running', tries = tries + 1, owner = ?, heartbeat = ? WHERE key = ?"
BEAT = "UPDATE runs SET heartbeat = ? WHERE state = 'running' AND owner = ?"
FINISH = """
UPDATE runs SET state = 'done', heartbeat = NULL, result = ?, error = NULL, seconds = ?, threads = ?
WHERE state = 'running' AND key = ? AND owner = ?
"""
PUT_BACK = """
UPDATE runs SET state = CASE WHEN tries < ? THEN 'open' ELSE 'failed' END, owner = NULL, heartbeat = NULL, error = ?
WHERE state = 'running' AND
"""
RELEASE = """
UPDATE runs SET state = 'open', tries = tries - 1, owner = NULL, heartbeat = NULL
WHERE state = 'running' AND owner = ?
"""
REOPEN = "UPDATE runs SET state = 'open', tries = 0 WHERE state = 'failed'"
IN_SHARD = "FROM runs WHERE place % ? = ?"
CHOSEN = "AND key IN (SELECT key FROM chosen)"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run.

    Attributes:
        key: see :func:`key_of`.
        settings: all that decides the result.
        state: where it stands.
        tries: how often it was claimed.
        owner: the driver that holds it, or brought its result.
        result: what came out, once it is done.
        error: what went wrong at the last try, with its traceback.
        seconds: that the run took.
        threads: of torch in it; sums depend on their number in the last bits.
    """

    key: str
    settings: dict[str, Any]
    state: State
    tries: int
    owner: str | None
    result: Any
    error: str | None
    seconds: float | None
    threads: int | None


COLUMNS = tuple(column.name for column in fields(Row))


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many runs stand where."""

    open: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0

    @property
    def left(self) -> int:
        """Those that are not at an end."""
        return self.open + self.running

    @property
    def total(self) -> int:
        """All of them."""
        return self.left + self.done + self.failed


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The ``number``-th of ``count`` parts of all runs, by their keys: the same wherever and whenever it is asked.

    Raises:
        InputError: there is no such part.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise InputError(f"shard {self.number}/{self.count}: give i/n with i from 1 to n, as in 1/2")

    @staticmethod
    def parse(text: str) -> Shard:
        """From ``i/n``."""
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal()):
            raise InputError(f"shard {text}: give i/n, as in 1/2")
        return Shard(number=int(number), count=int(count))


ALL = Shard()


def canonical(value: Any, what: str) -> str:
    """A value as JSON in which nothing is left to choose: keys sorted, no spaces, ASCII.

    Raises:
        InputError: it is no JSON; numbers that are not finite are none (RFC 8259, section 6).
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: {error}; give JSON alone, and null for what is not finite") from error


def key_of(settings: Mapping[str, Any]) -> str:
    """The SHA-256 of the settings' canonical JSON, in hexadecimal digits."""
    return hashlib.sha256(canonical(settings, "settings of a run").encode()).hexdigest()


class Ledger:
    """An open ledger, as one driver sees it.

    Args:
        path: the file; made where there is none.
        journal: ``wal``, or ``delete`` on network file systems, which bear one driver at a time. By default the file
            system decides.
        tries: claims of one run, at most.
        stale: seconds without a heartbeat after which a claim goes back.
        clock: tells the time in seconds.

    Raises:
        InputError: the file is something else, or of another version. Every method raises it where the disk is full,
            the file is locked for long, and the like.
    """

    def __init__(
        self,
        path: Path,
        *,
        journal: Journal | None = None,
        tries: int = TRIES,
        stale: float = STALE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.tries = tries
        self.stale = stale
        self.clock = clock
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
        self._database = Database(path, what="ledger", mark=MARK, schema=SCHEMA, table=TABLE, journal=journal)
        self._among = ""

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.connection.close()

    @property
    def shared(self) -> bool:
        """Whether several drivers may work at once; not on network file systems, which is worth saying."""
        with self._database.explained():
            return self._database.journal == "wal"

    def enter(self, runs: Iterable[Mapping[str, Any]]) -> int:
        """Enter runs by their settings; gives how many are new."""
        texts = {key_of(settings): canonical(settings, "settings of a run") for settings in runs}
        rows = [(key, text, int(key[:15], 16)) for key, text in texts.items()]
        with self._database.writing() as connection:
            return connection.executemany(ENTER, rows).rowcount

    def choose(self, runs: Iterable[Mapping[str, Any]]) -> None:
        """Enter runs, and see no others from here on: what others left open in this ledger is not this driver's."""
        listed = list(runs)
        self.enter(listed)
        with self._database.writing() as connection:
            connection.execute("CREATE TEMP TABLE IF NOT EXISTS chosen (key TEXT PRIMARY KEY)")
            connection.execute("DELETE FROM chosen")
            keys = {key_of(settings) for settings in listed}
            connection.executemany("INSERT INTO chosen VALUES (?)", [(key,) for key in keys])
        self._among = CHOSEN

    def claim(self, limit: int = 1, shard: Shard = ALL) -> tuple[Row, ...]:
        """Take up to ``limit`` open runs, after what drivers hold that have fallen silent went back.

        Runs that were tried before come first: what is wrong with them shows before the others are done.
        """
        now = self.clock()
        with self._database.writing() as connection:
            silent = (self.tries, "its driver fell silent", self.owner, now - self.stale)
            connection.execute(f"{PUT_BACK} owner != ? AND heartbeat < ?", silent)
            self._release_of_the_dead(connection)
            chosen = self._rows(shard, "AND state = 'open' ORDER BY tries DESC, rowid LIMIT ?", limit)
            connection.executemany(TAKE, [(self.owner, now, row.key) for row in chosen])
        return tuple(replace(row, state="running", tries=row.tries + 1, owner=self.owner) for row in chosen)

    def _release_of_the_dead(self, connection: sqlite3.Connection) -> None:
        """What drivers held that were killed on this machine is open again at once, and was not tried."""
        running = "SELECT DISTINCT owner FROM runs WHERE state = 'running' AND owner != ?"
        for (owner,) in connection.execute(running, (self.owner,)).fetchall():
            host, process, _ = owner.rsplit(":", 2)
            if host == socket.gethostname() and not _is_alive(int(process)):
                connection.execute(RELEASE, (owner,))

    def finish(self, key: str, result: Any, *, seconds: float, threads: int) -> bool:
        """Keep the result of a run; gives whether it was accepted: it is from the run's present owner alone."""
        text = canonical(result, "result of a run")
        with self._database.writing() as connection:
            return connection.execute(FINISH, (text, seconds, threads, key, self.owner)).rowcount == 1

    def put_back(self, key: str, error: str) -> None:
        """Give up a run that went wrong: it is open again, or failed where it was tried often enough."""
        with self._database.writing() as connection:
            connection.execute(f"{PUT_BACK} key = ? AND owner = ?", (self.tries, error, key, self.owner))

    def release(self) -> None:
        """Give up all that is claimed, as if it had not been."""
        with self._database.writing() as connection:
            connection.execute(RELEASE, (self.owner,))

    def reopen(self) -> None:
        """Open all failed runs again, after what made them fail has been seen to."""
        with self._database.writing() as connection:
            connection.execute(f"{REOPEN} {self._among}")

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """While the block runs, whatever it waits for, its claims have a heartbeat."""
        ended = threading.Event()

        def beat() -> None:
            with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
                while not ended.wait(self.stale / BEATS):
                    # One that is missed does no harm: others follow, and a file that is broken is told of where
                    # results are written.
                    with suppress(sqlite3.Error):
                        connection.execute(BEAT, (self.clock(), self.owner))

        beating = threading.Thread(target=beat, name="heartbeat", daemon=True)
        beating.start()
        try:
            yield
        finally:
            ended.set()
            beating.join()

    def rows(self, shard: Shard = ALL) -> tuple[Row, ...]:
        """The runs, in the order in which they were entered."""
        with self._database.explained():
            return self._rows(shard, "ORDER BY rowid")

    def counts(self, shard: Shard = ALL) -> Counts:
        """How many runs stand where."""
        with self._database.explained():
            found = self._database.connection.execute(
                f"SELECT state, COUNT(*) {IN_SHARD} {self._among} GROUP BY state", (shard.count, shard.number - 1)
            )
            return Counts(**dict(found.fetchall()))

    def _rows(self, shard: Shard, further: str, *values: Any) -> tuple[Row, ...]:
        found = self._database.connection.execute(
            f"SELECT {', '.join(COLUMNS)} {IN_SHARD} {self._among} {further}", (shard.count, shard.number - 1, *values)
        )
        return tuple(_row(dict(zip(COLUMNS, columns, strict=True))) for columns in found)


def _is_alive(process: int) -> bool:
    """Whether there is such a process on this machine; where it cannot be asked, there is."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _row(columns: dict[str, Any]) -> Row:
    settings, result = json.loads(columns["settings"]), columns["result"]
    return Row(**columns | {"settings": settings, "result": None if result is None else json.loads(result)})
