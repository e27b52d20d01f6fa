"""Where many walks run at once: local processes behind the standard executor interface.

Any other ``concurrent.futures.Executor`` can stand in its place.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """``count`` fresh worker processes; what waits is dropped when the block is left by an exception.

    Processes are spawned, never forked: neither torch's threads nor its devices survive a fork.
    """
    pool = ProcessPoolExecutor(
        count,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,  # Ctrl-C reaches every process of a terminal: these end without a word
        initargs=(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
