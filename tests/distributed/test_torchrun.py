"""The command line under torchrun: one result, written and told once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.distributed.processes import SIZE, side_by_side, torchrun

from unstuck.cli import run

TARGETS = "tests.distributed.trainings"


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


def test_one_folder_is_written_and_one_process_speaks(tmp_path: Path) -> None:
    """A target that makes the process group itself, with a sharded model."""
    ran = side_by_side(["-m", "unstuck", "measure", f"{TARGETS}:spread", "spectrum"], tmp_path)
    assert [process.returncode for process in ran] == [0, 0], ran[0].stderr
    folders = list((tmp_path / "unstuck-runs").iterdir())
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
