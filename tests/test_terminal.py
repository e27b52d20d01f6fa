"""The table of a training under way, and that nothing is shown where nobody looks."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from unstuck import terminal
from unstuck.progress import Look, nobody, silent
from unstuck.terminal import AVERAGED, TENTHS, TrainingTable
from unstuck.walk import Update


def shown(table: TrainingTable) -> list[list[str]]:
    """The table's cells, row by row."""
    console = Console(width=200, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(table)
    return [line.split("  ") for line in map(str.strip, capture.get().splitlines())]


def look(first: int, count: int, updates: int, *, loss: float = 1.0) -> Look:
    made = [Update(update=first + i, loss=loss, rate=0.25, gradient_norm=2.0, cosine=0.0) for i in range(count)]
    return Look(made=tuple(made), updates=updates, per_epoch=40)


def test_a_row_tells_where_the_training_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unstuck.terminal.time.monotonic", iter((100.0, 100.0, 102.0)).__next__)
    table = TrainingTable()
    table.look(look(0, 16, 1_000))
    table.look(look(16, 4, 1_000, loss=6.0))
    titles, row = shown(table)
    assert [title.strip() for title in titles if title] == [
        "update",
        "epoch",
        "loss",
        "rate",
        "gradient norm",
        "time left",
    ]
    assert [cell.strip() for cell in row if cell][:5] == ["20 of 1,000", "0.5", "2", "0.25", "2"]
    assert row[-1].strip() == "0:08:10"  # 980 more at 4 in 2 seconds


def test_the_loss_is_the_mean_over_the_last_updates() -> None:
    table = TrainingTable()
    table.look(look(0, 100, 1_000, loss=7.0))
    table.look(look(100, AVERAGED, 1_000, loss=3.0))
    assert "  3  " in "  ".join(shown(table)[-1])


@pytest.mark.parametrize("updates", [1, 7, 10, 333, 5_000])
def test_a_tenth_of_a_training_is_a_row_that_stays(updates: int) -> None:
    table = TrainingTable()
    for first in range(0, updates, 16):
        table.look(look(first, min(16, updates - first), updates))
    assert 1 <= len(table.kept) <= TENTHS
    assert table.kept[-1][0] == f"{updates:,} of {updates:,}"
    assert len(shown(table)) == 1 + len(table.kept)


def test_a_loss_that_is_not_finite_is_told() -> None:
    table = TrainingTable()
    table.look(look(0, 16, 100, loss=float("nan")))
    assert any("not finite" in cell for cell in shown(table)[-1])


def test_off_a_terminal_and_quiet_nothing_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for tty, quiet in ((False, False), (True, True)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda tty=tty: tty, raising=False)
        with terminal.watching(quiet=quiet) as (progress, watcher):
            assert (progress, watcher) == (silent, nobody)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_the_table_stays(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    with terminal.watching(quiet=False) as (progress, watcher):
        progress("training", 0.5)
        watcher(look(0, 16, 16))
        print("what a target says")
    printed, told = capsys.readouterr()
    assert printed == ""
    assert "16 of 16" in told
    assert "what a target says" in told
