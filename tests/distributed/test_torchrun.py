"""The command line under torchrun: one result, written and told once."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from tests.distributed.processes import SIZE, side_by_side, torchrun

from unstuck.cli import run

TARGETS = "tests.distributed.trainings"

KILLED = '''
"""A training that makes its process group itself, and ends its own process at one of its losses."""

import atexit
import os
import signal

import torch
import torch.distributed as dist
from tests.distributed.trainings import wrapped

LOSSES = 0


def problem():
    if not dist.is_initialized():
        dist.init_process_group("gloo")
        atexit.register(dist.destroy_process_group)

    def loss(outputs, targets):
        global LOSSES
        LOSSES += 1
        if str(LOSSES) == os.environ.get("KILLED_AT"):
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.nn.functional.cross_entropy(outputs, targets)

    return wrapped(loss=loss)
'''


def test_a_diagnosis_is_that_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same cause and the same remedies, though each process walks on its half of each batch."""
    options = ["--budget", "600", "--quiet"]
    command = ["-m", "unstuck", "diagnose", f"{TARGETS}:planted", "--json", "two.json", *options]
    ran = torchrun(command, tmp_path)
    assert ran.returncode == 0, ran.stderr
    monkeypatch.chdir(tmp_path)
    assert run(["diagnose", f"{TARGETS}:planted_alone", "--json", "one.json", *options]) == 0
    one, two = (json.loads(Path(name).read_text(encoding="utf-8")) for name in ("one.json", "two.json"))
    assert two["diagnosis"]["cause"] == one["diagnosis"]["cause"] == "saddle-point"
    assert two["diagnosis"]["decided_by"] == one["diagnosis"]["decided_by"]
    assert two["prescription"]["steps"][0]["remedy"] == one["prescription"]["steps"][0]["remedy"]
    assert [t["verdict"] for t in two["trials"]] == [t["verdict"] for t in one["trials"]]
    assert two["problem"]["batch_size"] == one["problem"]["batch_size"]


def without_abort(arguments: Sequence[str], folder: Path) -> tuple[list[CompletedProcess[str]], Path]:
    """Side by side, and the folder in which; again where a process was aborted, three times at most.

    With a sharded model and gloo, a process now and then ends with "malloc(): unaligned tcache chunk" when all
    its work is done.
    """
    for attempt in range(3):
        own = folder / str(attempt)
        own.mkdir()
        ran = side_by_side(arguments, own)
        if all(process.returncode != -signal.SIGABRT for process in ran):
            break
    return ran, own


def test_one_folder_is_written_and_one_process_speaks(tmp_path: Path) -> None:
    """A target that makes the process group itself, with a sharded model."""
    ran, folder = without_abort(["-m", "unstuck", "measure", f"{TARGETS}:spread", "spectrum"], tmp_path)
    assert [process.returncode for process in ran] == [0, 0], ran[0].stderr
    folders = list((folder / "unstuck-runs").iterdir())
    assert [folder.name for folder in folders] == ["spread-1"]
    document = json.loads((folders[0] / "report.json").read_text(encoding="utf-8"))
    assert document["readings"]["spectrum"][0]["values"]["engine"] == "finite difference"
    assert "Readings of spread" in ran[0].stdout
    assert not ran[1].stdout
    assert "unstuck:" not in ran[1].stderr


def test_what_fails_on_one_process_ends_all_with_one_line(tmp_path: Path) -> None:
    ran = side_by_side(["-m", "unstuck", "measure", f"{TARGETS}:failing_on_one"], tmp_path)
    assert [process.returncode for process in ran] == [2] * SIZE
    told = [line for process in ran for line in process.stderr.splitlines() if line.startswith("unstuck:")]
    assert len(told) == 1
    assert "process 1 of 2" in told[0]
    assert "the disk is full" in told[0]
    assert not (tmp_path / "unstuck-runs").exists()


def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "target.py").write_text(KILLED, encoding="utf-8")
    train = ["-m", "unstuck", "train", "--quiet"]
    options = ["target.py:problem", "--updates", "40", "--checkpoint-every", "15", "--averaging", "exponential"]
    assert torchrun([*train, *options, "--out", "whole"], tmp_path).returncode == 0
    monkeypatch.setenv("KILLED_AT", "40")
    assert torchrun([*train, *options, "--out", "run"], tmp_path).returncode != 0
    assert not (tmp_path / "run" / "report.json").exists()
    monkeypatch.delenv("KILLED_AT")
    ran = torchrun([*train, "--resume", "run"], tmp_path)
    assert ran.returncode == 0, ran.stderr
    curves = [(tmp_path / run / "curve.jsonl").read_bytes() for run in ("whole", "run")]
    assert curves[0] == curves[1]
    assert len(curves[0].splitlines()) == 40
