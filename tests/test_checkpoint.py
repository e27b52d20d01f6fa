"""The folder of a training: whole at any time, mended where it was torn, and nobody else's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import zoo
from torch import nn

from unstuck import checkpoint as checkpoints
from unstuck.checkpoint import CHECKPOINT, CURVE, RECIPE, Checkpoint, Record
from unstuck.errors import InputError
from unstuck.problem import Problem
from unstuck.recipe import Recipe
from unstuck.snapshot import Snapshot
from unstuck.training import resume, train
from unstuck.walk import Update

TARGET = '''
"""A training with all that has to be found again, and which ends its own process at one of its losses."""

import os
import signal

import torch
import unstuck
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LOSSES = 0


def problem():
    torch.manual_seed(0)
    inputs = torch.randn(53, 6)
    model = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout(0.3), nn.Linear(9, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.01)
    entropy = nn.CrossEntropyLoss()

    def loss(outputs, targets):
        global LOSSES
        LOSSES += 1
        if str(LOSSES) == os.environ.get("KILLED_AT"):
            os.kill(os.getpid(), signal.SIGKILL)
        return entropy(outputs, targets)

    return unstuck.Problem(
        model,
        loss,
        DataLoader(TensorDataset(inputs, inputs[:, :3].argmax(1)), batch_size=8, shuffle=True),  # the last is ragged
        optimizer,
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=60),
        schedule_every="update",
        accumulate=2,
    )
'''

UPDATES = 50


def unstuck(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "unstuck", "train", *arguments, "--quiet"]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has another way to end a process")
def test_a_killed_process_is_gone_on_from_bit_for_bit(tmp_path: Path) -> None:
    (tmp_path / "target.py").write_text(TARGET, encoding="utf-8")
    options = ("--updates", str(UPDATES), "--checkpoint-every", "15", "--averaging", "exponential", "--seed", "3")
    whole = unstuck(tmp_path, "target.py:problem", *options, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    killed = unstuck(tmp_path, "target.py:problem", *options, "--out", "run", KILLED_AT="84")
    assert killed.returncode == -signal.SIGKILL
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == {CHECKPOINT, CURVE, RECIPE}
    assert Checkpoint.read(run).snapshot.update == 30
    with (run / CURVE).open("a", encoding="utf-8") as file:
        file.write('{"update": 31, "lo')  # as a process leaves it that ends within a row
    rest = unstuck(tmp_path, "--resume", "run")
    assert rest.returncode == 0, rest.stderr
    assert (run / CURVE).read_bytes() == (tmp_path / "whole" / CURVE).read_bytes()
    first, second = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("whole", "run"))
    assert all(torch.equal(first[name], second[name]) for name in first | second)
    documents = [json.loads((tmp_path / name / "report.json").read_text("utf-8")) for name in ("whole", "run")]
    for key in ("curve", "final", "recipe", "finished", "notes"):
        assert documents[0][key] == documents[1][key]


def problem() -> Problem:
    return zoo.problem(zoo.perceptron)


def made(updates: int, *, start: int = 0) -> list[Update]:
    return [
        Update(update=start + i, loss=1 / 3 + i, rate=0.1, gradient_norm=1e-300 * (i + 1), cosine=0.0)
        for i in range(updates)
    ]


def checkpoint(update: int = 0) -> Checkpoint:
    return Checkpoint(settings={"every": 5}, snapshot=Snapshot.of(problem(), update), seconds=1.5)


def test_a_checkpoint_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    first = checkpoint(7)
    first.write(tmp_path)
    found = Checkpoint.read(tmp_path)
    assert (found.settings, found.seconds, found.snapshot.update) == ({"every": 5}, 1.5, 7)
    assert found.snapshot.tensors.keys() == first.snapshot.tensors.keys()
    assert all(torch.equal(tensor, first.snapshot.tensors[name]) for name, tensor in found.snapshot.tensors.items())
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


@pytest.mark.parametrize("at", ["save", "fsync", "replace"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(5).write(tmp_path)

    def full(*given: Any, **named: Any) -> None:
        raise OSError("no space left on device")

    owner = {"save": torch, "fsync": os, "replace": Path}[at]
    monkeypatch.setattr(owner, at, full)
    with pytest.raises(OSError, match="no space left"):
        checkpoint(10).write(tmp_path)
    monkeypatch.undo()
    assert Checkpoint.read(tmp_path).snapshot.update == 5
    checkpoint(15).write(tmp_path)
    assert Checkpoint.read(tmp_path).snapshot.update == 15


def test_rows_are_on_the_disk_before_the_checkpoint_that_stands_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replaced = Path.replace

    def replace(path: Path, target: Path) -> Path:
        done.append("replaced")
        return replaced(path, target)

    monkeypatch.setattr(checkpoints, "_sync", lambda path: done.append(path.name))
    monkeypatch.setattr(Path, "replace", replace)
    record = Record(tmp_path / "run")
    record.start("")
    record.add(made(5))
    record.keep(checkpoint(5))
    assert done == [CURVE, "replaced", "run"]


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 torn", b"no archive at all", json.dumps({"settings": 1}).encode()]
)
def test_a_checkpoint_that_is_none_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a checkpoint") as raised:
        Checkpoint.read(tmp_path)
    assert "\n" not in str(raised.value)


class Runs:
    """Unpickled, it would run."""

    def __reduce__(self) -> Any:
        return (os.system, ("touch ran",))


@pytest.mark.parametrize("content", [{"settings": Runs()}, {"other": 1}, [1, 2], {"settings": "{}", "snapshot": {}}])
def test_a_checkpoint_of_something_else_is_refused(
    content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        Checkpoint.read(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_curve_is_read_back_with_all_its_digits(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.start("rate = 0.1\n")
    record.add(made(4))
    record.add(made(3, start=4))
    found, size = record.first(7)
    assert [row.loss for row in found] == [row.loss for row in (*made(4), *made(3, start=4))]
    assert [row.gradient_norm for row in found] == [row.gradient_norm for row in (*made(4), *made(3, start=4))]
    assert size == (tmp_path / CURVE).stat().st_size
    assert (tmp_path / RECIPE).read_text("utf-8") == "rate = 0.1\n"


def test_what_follows_the_checkpoint_is_cut_off(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.start("")
    record.add(made(4))
    whole = (tmp_path / CURVE).read_bytes()
    for beyond in ('{"update": 4, "lo', '{"update": 4}\n{"upd', "\n\n"):
        with (tmp_path / CURVE).open("a", encoding="utf-8") as file:
            file.write(beyond)
        found, size = record.first(4)
        record.go_on("rate = 0.2\n", size)
        assert len(found) == 4
        assert (tmp_path / CURVE).read_bytes() == whole
    assert (tmp_path / RECIPE).read_text("utf-8") == "rate = 0.2\n"


@pytest.mark.parametrize("content", ["", '{"update": 0, "lo', '{"update": 1}\n', "[]\n", '{"update": "0"}\n'])
def test_a_curve_that_lacks_rows_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / CURVE).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"does not hold the 1 updates that the checkpoint beside it stands after"):
        Record(tmp_path).first(1)


def test_a_row_that_is_not_finite_is_json(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.add([Update(update=0, loss=float("nan"), rate=0.1, gradient_norm=float("inf"), cosine=0.0)])
    (line,) = (tmp_path / CURVE).read_text("utf-8").splitlines()
    row = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert row == {"update": 0, "loss": None, "rate": 0.1, "gradient_norm": None, "non_finite": True}


@pytest.mark.parametrize("name", [CHECKPOINT, CURVE, RECIPE])
def test_a_folder_with_a_training_is_not_written_to(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=f"this folder holds a training, .* --resume {tmp_path}"):
        train(problem(), updates=3, folder=tmp_path)
    assert [(path.name, path.read_text("utf-8")) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_state_that_could_not_be_read_back_is_found_out_at_once(tmp_path: Path) -> None:
    class Odd(torch.optim.SGD):
        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "reader": zoo.perceptron}

    odd = zoo.problem(zoo.perceptron, optimizer=lambda parameters: Odd(parameters, lr=0.1))
    with pytest.raises(InputError, match=r"in a checkpoint \(tests.zoo.perceptron\); .* --checkpoint-every 0"):
        train(odd, updates=3, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert len(train(odd, updates=3, folder=tmp_path / "run", every=0).curve) == 3
    assert {path.name for path in (tmp_path / "run").iterdir()} == {CURVE, RECIPE}


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 5, 5]),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda update: 1 / (update + 1)),
        lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=4),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o),
        lambda o: torch.optim.lr_scheduler.ChainedScheduler(
            [torch.optim.lr_scheduler.ConstantLR(o), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)]
        ),
    ],
)
def test_torchs_schedulers_can_be_kept(scheduler: Any, tmp_path: Path) -> None:
    scheduled = zoo.problem(zoo.perceptron, scheduler=scheduler, schedule_every="update")
    whole = train(scheduled, updates=9)
    train(scheduled, updates=5, folder=tmp_path, every=5)
    rest = resume(scheduled, tmp_path, recipe=Recipe(updates=9))
    assert [row.rate for row in rest.curve] == [row.rate for row in whole.curve]


def test_a_broken_training_keeps_the_state_before(tmp_path: Path) -> None:
    inputs, _ = zoo.table()
    breaking = zoo.problem(
        lambda: nn.Linear(zoo.FEATURES, 1),
        loss=nn.MSELoss(),
        train=zoo.shuffled(inputs, inputs[:, :1]),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e10),
    )
    training = train(breaking, updates=300, folder=tmp_path, every=3)
    assert training.broke_at is not None
    kept = Checkpoint.read(tmp_path).snapshot
    assert kept.update <= training.broke_at
    assert all(tensor.isfinite().all() for tensor in kept.tensors.values())
    assert len((tmp_path / CURVE).read_text("utf-8").splitlines()) == len(training.curve)
