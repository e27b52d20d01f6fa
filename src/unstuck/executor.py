"""Where many runs are performed: in this process, on others of this machine, or on a cluster.

All of them stand behind the standard interface, ``concurrent.futures.Executor``, so that one driver serves them all.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from unstuck.errors import InputError

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Those who perform runs.

    Attributes:
        open: gives an executor for the length of a block; asked again where the last one broke.
        at_once: runs that they have in hand together.
        threads: of torch in each run.
    """

    open: Callable[[], AbstractContextManager[Executor]]
    at_once: int
    threads: int


def workers(on: str = "local", jobs: int = 1, threads: int | None = None) -> Workers:
    """Who performs runs.

    Args:
        on: ``local``, ``dask`` for a cluster of dask.distributed on this machine, ``dask://HOST:PORT`` for the
            scheduler of one that runs, or ``ray`` for the cluster that Ray finds, or else one on this machine. Those
            that are reached by ports serve whoever reaches these: for networks that are trusted.
        jobs: runs at once; a single one is performed in this process where it is local.
        threads: of torch in each run, by default its share of this machine's cores, and one on a cluster. A number
            gives the same results to the last bit wherever and however many runs go on at once.

    Raises:
        InputError: there is no such place, or the package for it is not installed.
    """
    if jobs < 1 or (threads is not None and threads < 1):
        raise InputError(f"`jobs` and `threads` must be 1 or more; got {jobs} and {threads}")
    if on == "local":
        opened = Here if jobs == 1 else partial(processes, jobs)
        return Workers(open=opened, at_once=jobs, threads=threads or max(1, cores() // jobs))
    if on == "dask":
        opened = partial(_on_dask_here, _package("distributed", extra="dask"), jobs)
    elif on.startswith("dask://") and on != "dask://":
        distributed = _package("distributed", extra="dask")
        opened = partial(_on_dask, distributed, on.removeprefix("dask://"))
    elif on == "ray":
        opened = partial(_on_ray, _package("ray", extra="ray"))
    else:
        raise InputError(f"runs cannot be performed on {on!r}; give local, dask, dask://HOST:PORT or ray")
    return Workers(open=opened, at_once=jobs, threads=threads or 1)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _package(name: str, *, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f'{name} is not installed: pip install "unstuck[{extra}]"') from error


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """``count`` fresh worker processes; when the block is left by an exception, what runs or waits is dropped.

    Processes are spawned, never forked: neither torch's threads nor its devices survive a fork. They end with this
    process, however it ends.
    """
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    with theirs, ours:
        pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(theirs,))
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()


def _begin(lifeline: Connection) -> None:
    """What a worker process does first."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches every process of a terminal: end without a word
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    """End this process when the other end of the pipe is gone, which a process that is killed takes along."""
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)


class Here(Executor):
    """Performs what is submitted at once, in this very thread: Ctrl-C reaches it."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The future of a call, which has been made."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)
        return future


@contextmanager
def _on_dask(distributed: Any, address: str) -> Iterator[Executor]:
    try:
        client = distributed.Client(f"tcp://{address}")
    except OSError as error:
        raise InputError(f"dask://{address}: no scheduler answers; start one there, or give its address") from error
    with client:
        executor: Executor = client.get_executor(pure=False)  # a second try is a second call
        try:
            yield executor
        finally:
            executor.shutdown(wait=False)  # cancels what still runs


@contextmanager
def _on_dask_here(distributed: Any, count: int) -> Iterator[Executor]:
    """On a cluster of ``count`` worker processes of this machine, which nobody else reaches."""
    with (
        distributed.LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        _on_dask(distributed, cluster.scheduler_address.removeprefix("tcp://")) as executor,
    ):
        yield executor


@contextmanager
def _on_ray(ray: Any) -> Iterator[Executor]:
    if ray.is_initialized():  # the caller's
        yield OnRay(ray)
        return
    ray.init()
    try:
        yield OnRay(ray)
    finally:
        ray.shutdown()


class OnRay(Executor):
    """Ray's tasks as an executor. Ray itself tries nothing twice: that is the ledger's business."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The future of a call somewhere on the cluster."""
        task = self._ray.remote(max_retries=0)(_called)  # which takes functions alone, and no partial ones
        future: Future[T] = task.remote(fn, args, kwargs).future()
        return future


def _called(fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    return fn(*args, **kwargs)
