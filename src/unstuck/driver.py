"""Many runs, performed wherever there are workers: one driver for all executors.

It claims runs of a ledger, has them performed, and is the only one to write what came out.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from unstuck.errors import InputError
from unstuck.executor import Workers
from unstuck.ledger import ALL, Counts, Ledger, Row, Shard, canonical
from unstuck.progress import Progress, silent

T = TypeVar("T")

POLL = 1.0
"""Seconds between looks at the ledger while there is nothing to claim, or a worker is waited for."""


STARTS = 3
"""Times that workers are started in a row before it is given up: one may be killed just then."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a worker sends back: the result or, as some exceptions cannot be sent, the traceback."""

    result: Any
    error: str | None
    seconds: float
    threads: int


def perform(function: str, settings: Mapping[str, Any], threads: int) -> Outcome:
    """Perform one run, wherever this is called.

    Args:
        function: ``module:function``, called with the settings; gives JSON.
        settings: of the run.
        threads: of torch, where the function's module has brought it along.
    """
    began, result, error = time.perf_counter(), None, None
    try:
        module, _, name = function.partition(":")
        called = getattr(importlib.import_module(module), name)
        with _threads_of_torch(threads):
            result = json.loads(canonical(called(settings), f"result of {function}"))
    except (Exception, SystemExit):  # noqa: BLE001 - anything may go wrong in a run, and the others go on
        error = traceback.format_exc()
    return Outcome(result=result, error=error, seconds=time.perf_counter() - began, threads=threads)


@contextmanager
def _threads_of_torch(count: int) -> Iterator[None]:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def drive(ledger: Ledger, function: str, on: Workers, *, shard: Shard = ALL, progress: Progress = silent) -> Counts:
    """Perform the open runs of a ledger until each is done or failed, by this driver or by others at the same time.

    However it ends, what was done is kept and the rest is open; to drive again is to go on.

    Args:
        ledger: where runs are claimed and their results kept.
        function: ``module:function``, importable where the workers are; called with a run's settings, gives JSON.
        on: who performs the runs.
        shard: the part of the runs that is this driver's.
        progress: told how many runs are done.

    Returns:
        Where the runs of the shard stand.

    Raises:
        InputError: no worker can be started, or the ledger cannot be written.
    """
    driver = _Driver(ledger, function, on, shard, progress)
    starts = 0
    with ledger.kept_alive():
        try:
            while ledger.counts(shard).left:
                with on.open() as executor:
                    starts = 0 if _starts(executor) else starts + 1
                    if starts == 0:
                        driver.go_on(executor)
                if starts == STARTS:
                    raise InputError(
                        "no worker process can be started; a script that starts some needs "
                        '`if __name__ == "__main__":` around what it does'
                    )
        finally:
            ledger.release()
    return ledger.counts(shard)


def _starts(executor: Executor) -> bool:
    """Whether its workers start at all; else every run would be blamed for it."""
    try:
        executor.submit(os.getpid).result()
    except BrokenExecutor:
        return False
    return True


class _Driver:
    """What one driver has in hand."""

    def __init__(self, ledger: Ledger, function: str, on: Workers, shard: Shard, progress: Progress) -> None:
        self._ledger = ledger
        self._call = partial(perform, function, threads=on.threads)
        self._at_once = on.at_once
        self._shard = shard
        self._progress = progress
        self._suspects = 0
        """Runs to be performed one at a time, as one of them took a worker down, and all of a pool go with it."""

    def go_on(self, executor: Executor) -> None:
        """Until nothing is left, or the executor breaks."""
        pending: dict[Future[Outcome], Row] = {}
        while self._told().left:
            room = (1 if self._suspects else self._at_once) - len(pending)
            if room > 0:
                claimed = self._ledger.claim(room, self._shard)
                pending |= {_submitted(executor, self._call, row.settings): row for row in claimed}
            if not pending:  # others have the rest in hand
                time.sleep(POLL)
                continue
            ended, _ = wait(pending, timeout=POLL, return_when=FIRST_COMPLETED)
            if broken := any(isinstance(_failure(future), BrokenExecutor) for future in ended):
                ended, _ = wait(pending)
                self._suspects = max(self._suspects, len(ended))
            else:
                self._suspects = max(self._suspects - len(ended), 0)
            for future in ended:
                self._settle(pending.pop(future), future)
            if broken:
                return

    def _told(self) -> Counts:
        """Where the runs stand, after it was told."""
        counts = self._ledger.counts(self._shard)
        failed = f", {counts.failed} failed" if counts.failed else ""
        ended = counts.total - counts.left
        self._progress(f"{counts.done} of {counts.total} runs done{failed}", ended / max(counts.total, 1))
        return counts

    def _settle(self, row: Row, future: Future[Outcome]) -> None:
        """Write what became of a run. A result that comes too late, as others have the run by now, is not accepted."""
        failure = _failure(future)
        if failure is not None:
            self._ledger.put_back(row.key, "".join(traceback.format_exception(failure)))
            return
        outcome = future.result()
        if outcome.error is not None:
            self._ledger.put_back(row.key, outcome.error)
        else:
            self._ledger.finish(row.key, outcome.result, seconds=outcome.seconds, threads=outcome.threads)


def _submitted(executor: Executor, call: Callable[[Mapping[str, Any]], T], settings: Mapping[str, Any]) -> Future[T]:
    """The future of a call; one that an executor refuses as it is broken already is lost like those that it had."""
    try:
        return executor.submit(call, settings)
    except BrokenExecutor as error:
        future: Future[T] = Future()
        future.set_exception(error)
        return future


def _failure(future: Future[Any]) -> BaseException | None:
    """Why a future that is done has no result."""
    return CancelledError() if future.cancelled() else future.exception()
