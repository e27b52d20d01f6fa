"""One driver for all executors: everything is done once, whatever is killed and whoever else is at work."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unstuck import driver
from unstuck.driver import drive
from unstuck.errors import InputError
from unstuck.executor import Workers, workers
from unstuck.ledger import Counts, Ledger, Row, Shard

HERE = workers(threads=1)
THREADS = Workers(open=lambda: ThreadPoolExecutor(3), at_once=3, threads=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "POLL", 0.01)


def enter(ledger: Ledger, count: int, **more: Any) -> None:
    ledger.enter({"x": x, **more} for x in range(count))


def listening(pipe: Path) -> TextIO:
    """The end of a named pipe where others are heard; it is open for writing as well, so that it never ends."""
    return os.fdopen(os.open(pipe, os.O_RDWR), "r", encoding="utf-8")


def squares(rows: Iterable[Row]) -> dict[int, Any]:
    """x → square of the runs that are done."""
    return {row.settings["x"]: row.result["square"] for row in rows if row.state == "done"}


@pytest.mark.parametrize("on", [HERE, THREADS], ids=["here", "threads"])
def test_every_run_is_done_once(ledger: Ledger, tmp_path: Path, on: Workers) -> None:
    enter(ledger, 8, log=str(tmp_path / "log"))
    heard: list[tuple[str, float]] = []
    assert drive(ledger, "tests.runs:logged", on, progress=lambda *told: heard.append(told)) == Counts(done=8)
    assert squares(ledger.rows()) == {x: x**2 for x in range(8)}
    assert {(row.tries, row.threads, row.owner) for row in ledger.rows()} == {(1, 1, ledger.owner)}
    assert sorted(map(int, (tmp_path / "log").read_text().split())) == list(range(8))
    assert heard[0] == ("0 of 8 runs done", 0.0)
    assert heard[-1] == ("8 of 8 runs done", 1.0)
    assert drive(ledger, "tests.runs:logged", on) == Counts(done=8)
    assert len((tmp_path / "log").read_text().split()) == 8


def test_nothing_to_do_opens_nothing(ledger: Ledger) -> None:
    def refuse() -> Any:
        raise AssertionError("opened")

    assert drive(ledger, "tests.runs:square", Workers(open=refuse, at_once=1, threads=1)) == Counts()


@settings(max_examples=20)
@given(at=st.lists(st.integers(0, 7), max_size=4), entered=st.integers(0, 6))
def test_resumed_is_the_same_as_uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, at: list[int], entered: int
) -> None:
    """Interrupted when so many are done, again and again, with more runs entered in between."""
    path = tmp_path_factory.mktemp("resumed") / "ledger.sqlite"
    for stop in (*at, None):
        with Ledger(path) as ledger:
            enter(ledger, 6 if stop is None else entered)

            def interrupting(doing: str, done: float, stop: int | None = stop) -> None:
                if doing.startswith(f"{stop} of"):
                    raise KeyboardInterrupt

            try:
                drive(ledger, "tests.runs:square", HERE, progress=interrupting)
            except KeyboardInterrupt:
                assert ledger.counts().running == 0
    with Ledger(path) as ledger:
        assert squares(ledger.rows()) == {x: x**2 for x in range(6)}
        assert {row.tries for row in ledger.rows()} == {1}


def test_interrupted_while_others_run(ledger: Ledger) -> None:
    enter(ledger, 6)

    def interrupting(doing: str, done: float) -> None:
        if done > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(ledger, "tests.runs:square", THREADS, progress=interrupting)
    assert ledger.counts().running == 0
    assert all(row.tries == (row.state == "done") for row in ledger.rows())
    assert drive(ledger, "tests.runs:square", THREADS) == Counts(done=6)


def test_results_do_not_depend_on_how_many_run_at_once(tmp_path: Path) -> None:
    found = []
    for jobs in (1, 2):
        with Ledger(tmp_path / f"ledger-{jobs}.sqlite") as ledger:
            enter(ledger, 6)
            drive(ledger, "tests.runs:square", workers(jobs=jobs, threads=1))
            found.append([replace(row, owner=None, seconds=None) for row in ledger.rows()])
    assert found[0] == found[1]


def test_the_threads_of_torch_are_those_that_were_asked_for(ledger: Ledger) -> None:
    before = torch.get_num_threads()
    enter(ledger, 1)
    drive(ledger, "tests.torch_runs:threads", workers(threads=before + 2))
    (row,) = ledger.rows()
    assert row.result == row.threads == before + 2
    assert torch.get_num_threads() == before


def test_runs_that_go_wrong_do_not_stop_the_others(ledger: Ledger) -> None:
    enter(ledger, 6)
    assert drive(ledger, "tests.runs:wrong", THREADS) == Counts(done=3, failed=3)
    errors = {row.settings["x"]: row.error or "" for row in ledger.rows() if row.state == "failed"}
    assert {row.tries for row in ledger.rows() if row.state == "failed"} == {3}
    assert errors[1].startswith("Traceback")
    assert errors[1].rstrip().endswith("Local: no good")
    assert errors[2].rstrip().endswith("SystemExit: 3")
    assert "result of tests.runs:wrong" in errors[3]


def test_what_goes_wrong_once_is_done_at_the_second_try(ledger: Ledger, tmp_path: Path) -> None:
    enter(ledger, 2, folder=str(tmp_path))
    assert drive(ledger, "tests.runs:once_wrong", HERE) == Counts(done=2)
    assert {(row.tries, row.error) for row in ledger.rows()} == {(2, None)}


@pytest.mark.parametrize("function", ["tests.runs:nothing", "tests.nowhere:square", "square", ""])
def test_a_function_that_is_not_there(ledger: Ledger, function: str) -> None:
    enter(ledger, 1)
    assert drive(ledger, function, HERE) == Counts(failed=1)
    (row,) = ledger.rows()
    assert "Error" in (row.error or "")


def test_a_worker_that_is_killed_takes_no_run_along(ledger: Ledger, tmp_path: Path) -> None:
    """The first run kills its worker once; the second always, and is the only one to fail."""
    enter(ledger, 6, folder=str(tmp_path))
    assert drive(ledger, "tests.runs:once_deadly", workers(jobs=2)) == Counts(done=5, failed=1)
    assert squares(ledger.rows()) == {x: x**2 for x in (0, 1, 3, 4, 5)}
    (row,) = (row for row in ledger.rows() if row.state == "failed")
    assert row.settings["x"] == 2
    assert "BrokenProcessPool" in (row.error or "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_driver_that_is_killed(tmp_path: Path) -> None:
    """With its two workers busy; the next one takes over what it held, here in this process."""
    path, told = tmp_path / "ledger.sqlite", tmp_path / "told"
    os.mkfifo(told)
    with Ledger(path) as ledger:
        enter(ledger, 5, folder=str(tmp_path))
    command = [sys.executable, "-m", "tests.runs", str(path), "tests.runs:gated"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1]) as killed, listening(told) as heard:
        try:
            busy = [int(heard.readline()) for _ in range(2)]
        finally:
            killed.kill()
    assert len(set(busy)) == 2
    (tmp_path / "open").touch()
    with Ledger(path) as ledger:
        states = {row.settings["x"]: (row.state, row.tries) for row in ledger.rows()}
        assert states == {0: ("done", 1), 1: ("running", 1), 2: ("running", 1), 3: ("open", 0), 4: ("open", 0)}
    with Ledger(path) as ledger:  # on the same machine it need not wait for the other to have been silent long
        assert drive(ledger, "tests.runs:gated", HERE) == Counts(done=5)
        assert squares(ledger.rows()) == {x: x**2 for x in range(5)}
        assert [row.tries for row in ledger.rows()] == [1] * 5


KILLS, RUNS, MOST = 20, 400, 8
"""Runs are more than those that are done until the last kill: at most eight are waited for each time."""


def test_killed_at_twenty_random_moments(tmp_path: Path) -> None:
    """The driver, or one of its workers, each time at another moment; what is done stays done, and nothing is lost."""
    path, log = tmp_path / "ledger.sqlite", tmp_path / "log"
    log.touch()
    with Ledger(path) as ledger:
        enter(ledger, RUNS, log=str(log))
    chance = random.Random(0)
    command = [sys.executable, "-m", "tests.runs", str(path), "tests.runs:logged_slowly"]

    def wait_for(driving: subprocess.Popen[bytes], runs: int) -> None:
        wanted = len(log.read_text().split()) + runs
        while driving.poll() is None and len(log.read_text().split()) < wanted:
            time.sleep(0.002)

    for _ in range(KILLS):
        with subprocess.Popen(command, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL) as driving:
            wait_for(driving, chance.randint(0, MOST))
            workers_of_it = psutil.Process(driving.pid).children(recursive=True)
            victim = chance.choice([driving.pid, *(process.pid for process in workers_of_it)])
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            if victim != driving.pid:
                wait_for(driving, chance.randint(0, 2))
                driving.kill()
    with Ledger(path) as ledger:
        ledger.reopen()
        done = {row.key for row in ledger.rows() if row.state == "done"}
        assert 0 < len(done) < RUNS
        before = log.read_text().split()
        assert drive(ledger, "tests.runs:logged_slowly", HERE) == Counts(done=RUNS)
        assert squares(ledger.rows()) == {x: x**2 for x in range(RUNS)}
        after = log.read_text().split()[len(before) :]
        assert len(after) == RUNS - len(done)  # no run that was done is performed again


def test_two_drivers_share_the_work(tmp_path: Path) -> None:
    """Each run waits for another to be performed, so that neither driver could do it alone."""
    path = tmp_path / "ledger.sqlite"

    def driven(_: int) -> Counts:
        with Ledger(path) as mine:
            enter(mine, 6)
            return drive(mine, "tests.runs:meeting", HERE)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(driven, range(2))) == [Counts(done=6)] * 2
    with Ledger(path) as ledger:
        assert squares(ledger.rows()) == {x: x**2 for x in range(6)}
        owners = [row.owner for row in ledger.rows()]
        assert sorted(map(owners.count, set(owners))) == [3, 3]
        assert {row.tries for row in ledger.rows()} == {1}


def test_a_driver_keeps_to_its_shard(ledger: Ledger) -> None:
    enter(ledger, 12)
    parts = [Shard(number=number, count=3) for number in (1, 2, 3)]
    for done, part in enumerate(parts, 1):
        counts = drive(ledger, "tests.runs:square", HERE, shard=part)
        assert counts == Counts(done=len(ledger.rows(part)))
        assert ledger.counts().done == sum(len(ledger.rows(each)) for each in parts[:done])
    assert ledger.counts() == Counts(done=12)


def test_workers_that_do_not_start(tmp_path: Path) -> None:
    """A script without a guard: each worker would run it again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from unstuck.driver import drive\nfrom unstuck.executor import workers\nfrom unstuck.ledger import Ledger\n"
        "with Ledger(Path(sys.argv[1])) as ledger:\n"
        "    ledger.enter([{'x': 1}])\n"
        "    drive(ledger, 'tests.runs:square', workers(jobs=2))\n"
    )
    path = tmp_path / "ledger.sqlite"
    ran = subprocess.run([sys.executable, str(script), str(path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert (
        ran.stderr.rstrip().splitlines()[-1].startswith("unstuck.errors.InputError: no worker process can be started")
    )
    with Ledger(path) as ledger:
        assert [row.tries for row in ledger.rows()] == [0]


def test_a_ledger_that_cannot_be_written_ends_the_drive(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> bool:
        raise InputError("the disk is full")

    enter(ledger, 3)
    threads = threading.active_count()
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "finish", full)
        with pytest.raises(InputError, match="the disk is full"):
            drive(ledger, "tests.runs:square", HERE)
    assert {(row.state, row.tries) for row in ledger.rows()} == {("open", 0)}
    assert threading.active_count() == threads
    assert drive(ledger, "tests.runs:square", HERE) == Counts(done=3)


def test_neither_ledger_nor_driver_loads_torch() -> None:
    program = "import sys; import unstuck.driver; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(("broken", "done"), [(2, True), (3, False)])
def test_workers_that_do_not_start_are_started_again_a_few_times(ledger: Ledger, broken: int, done: bool) -> None:
    """One may be killed while it starts."""

    class Broken(Executor):
        def submit(self, *given: Any, **named: Any) -> Future[Any]:
            raise BrokenExecutor

    opened = iter([Broken] * broken)
    enter(ledger, 3)
    on = Workers(open=lambda: next(opened, lambda: ThreadPoolExecutor(1))(), at_once=1, threads=1)
    if done:
        assert drive(ledger, "tests.runs:square", on) == Counts(done=3)
        assert {row.tries for row in ledger.rows()} == {1}
        return
    with pytest.raises(InputError, match="no worker process can be started"):
        drive(ledger, "tests.runs:square", on)
    assert ledger.counts() == Counts(open=3)
