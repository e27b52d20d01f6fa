"""Where runs are performed: workers that end with their process, and clusters, which are stood in for here."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unstuck.errors import InputError
from unstuck.executor import Here, processes, workers

WATCHED = """
import os, signal
from unstuck.executor import processes

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
    with processes(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(signal.pause)
        signal.pause()
"""


def ends(pid: int) -> bool:
    """Whether a process is gone, within a minute."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], 60.0)[0])
    finally:
        os.close(watched)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for a process by its descriptor, as Linux has it")
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_process(tmp_path: Path, by: signal.Signals) -> None:
    """However it ends, and though they are busy."""
    program = tmp_path / "watched.py"
    program.write_text(WATCHED, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as ran:
        assert ran.stdout is not None
        worker = int(ran.stdout.readline())
        ran.send_signal(by)
        ran.wait(60)
    assert ends(worker)


def test_an_exception_drops_what_runs_and_what_waits() -> None:
    futures: list[Future[None]] = []

    def interrupted() -> None:
        with processes(1) as pool:
            futures.extend(pool.submit(signal.pause) for _ in range(5))
            raise InputError("stop")

    with pytest.raises(InputError, match="stop"):
        interrupted()
    assert not wait(futures, timeout=60).not_done


def test_here_is_this_very_thread() -> None:
    with Here() as executor:
        assert executor.submit(os.getpid).result() == os.getpid()
        assert executor.submit(pow, 2, mod=5, exp=3).result() == 3
        assert isinstance(executor.submit(divmod, 1, 0).exception(), ZeroDivisionError)
        # Said here: a test run that a shell started in the background ignores the signal.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                executor.submit(signal.raise_signal, signal.SIGINT)
        finally:
            signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("jobs", "threads", "expected"), [(1, None, 6), (2, None, 3), (4, None, 1), (9, None, 1), (4, 5, 5)]
)
def test_the_cores_are_shared_out(
    monkeypatch: pytest.MonkeyPatch, jobs: int, threads: int | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(6), raising=False)
    there = workers("local", jobs, threads)
    assert (there.at_once, there.threads) == (jobs, expected)
    assert (there.open is Here) == (jobs == 1)


@pytest.mark.parametrize(
    ("on", "package", "line"),
    [
        ("dask://10.0.0.1:8786", "distributed", 'distributed is not installed: pip install "unstuck[dask]"'),
        ("ray", "ray", 'ray is not installed: pip install "unstuck[ray]"'),
    ],
)
def test_a_cluster_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch, on: str, package: str, line: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as raised:
        workers(on)
    assert str(raised.value) == line


@pytest.mark.parametrize("on", ["", "dask://", "slurm", "tcp://10.0.0.1:8786"])
def test_a_place_that_is_none(on: str) -> None:
    with pytest.raises(InputError, match="give local, dask, dask://HOST:PORT or ray"):
        workers(on)


@pytest.mark.parametrize(("jobs", "threads"), [(0, None), (-1, None), (1, 0)])
def test_numbers_that_are_none(jobs: int, threads: int | None) -> None:
    with pytest.raises(InputError, match="must be 1 or more"):
        workers("local", jobs, threads)


def test_dask_gives_the_executor_of_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Client(nullcontext[None]):
        def __init__(self, address: str) -> None:
            super().__init__()
            asked.append(address)
            if "nobody" in address:
                raise OSError("Timed out trying to connect")

        def get_executor(self, **options: Any) -> Executor:
            asked.append(options)
            return ThreadPoolExecutor(1)

    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Client=Client))
    there = workers("dask://10.0.0.1:8786", jobs=3)
    assert (asked, there.at_once, there.threads) == ([], 3, 1)
    with there.open() as executor:
        assert executor.submit(pow, 2, 3).result() == 8
    assert asked == ["tcp://10.0.0.1:8786", {"pure": False}]
    with pytest.raises(RuntimeError):
        executor.submit(pow, 2, 3)  # it is shut down
    with pytest.raises(InputError, match="dask://nobody:1: no scheduler answers"), workers("dask://nobody:1").open():
        pass


@pytest.mark.parametrize("running", [False, True])
def test_ray_gives_futures_and_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch, running: bool) -> None:
    told: list[Any] = []
    here = Here()

    def remote(**options: Any) -> Callable[..., Any]:
        told.append(options)

        def task(function: Callable[..., Any]) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                return SimpleNamespace(future=lambda: here.submit(function, *args, **kwargs))

            return SimpleNamespace(remote=call)

        return task

    ray = SimpleNamespace(
        is_initialized=lambda: running,
        init=lambda: told.append("init"),
        shutdown=lambda: told.append("shutdown"),
        remote=remote,
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    with workers("ray", jobs=2).open() as executor:
        assert executor.submit(pow, 2, mod=5, exp=3).result() == 3
    assert told == ([{"max_retries": 0}] if running else ["init", {"max_retries": 0}, "shutdown"])
