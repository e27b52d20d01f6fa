"""A study on a real cluster of dask: two workers on loopback, one of which is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.own_study import LOG

from unstuck.errors import InputError
from unstuck.executor import workers
from unstuck.studying.catalogue import Asked
from unstuck.studying.conduct import conduct

dask: Any = pytest.importorskip("dask")
distributed: Any = pytest.importorskip("distributed")

OWN = f"{Path(__file__).parents[1] / 'own_study.py'}:STUDY"


def table(study: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in study.items() if name != "seconds"}


@pytest.mark.filterwarnings("ignore")  # dask's own, as sockets of a killed worker are closed
def test_a_cluster_that_loses_a_worker_gives_the_local_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOG, str(tmp_path / "log"))
    (local,) = conduct([OWN], tmp_path / "local.sqlite", workers(threads=1), Asked()).studies
    (tmp_path / "log").unlink()
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1", silence_logs=50
    ) as cluster:
        address = cluster.scheduler_address.removeprefix("tcp://")
        victim = next(iter(cluster.workers.values())).pid
        killed: list[int] = []

        def killing(doing: str, done: float) -> None:
            if 0 < done < 1 and not killed:
                killed.append(victim)
                os.kill(victim, signal.SIGKILL)

        on = workers(f"dask://{address}", jobs=4)
        (there,) = conduct([OWN], tmp_path / "there.sqlite", on, Asked(), progress=killing).studies
    assert killed
    assert there["verdict"] == "agrees"
    assert table(there) == table(local)


def test_a_scheduler_that_does_not_answer(tmp_path: Path) -> None:
    with dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}), pytest.raises(InputError) as raised:
        conduct([OWN], tmp_path / "ledger.sqlite", workers("dask://127.0.0.1:9", jobs=2), Asked())
    assert str(raised.value) == ("dask://127.0.0.1:9: no scheduler answers; start one there, or give its address")
