"""Runs of the ward, and the verb that has them performed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from unstuck import cli, remedies
from unstuck.ledger import Ledger, key_of
from unstuck.ward import design, hosts, run
from unstuck.ward.case import Case
from unstuck.ward.run import perform, settings_of


def case_of(kind: str) -> Case:
    return next(case for case in design.faulty() if case.kinds == (kind,) and case.host == "perceptron")


def test_the_same_settings_give_the_same_row() -> None:
    settings = settings_of("diagnosis", case_of("body-missing"), budget=100)
    one, again = (
        {name: value for name, value in perform(settings).items() if not name.endswith("seconds")} for _ in range(2)
    )
    assert one == again
    assert key_of(settings) == key_of(json.loads(json.dumps(settings)))


def test_a_grid_of_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "UPDATES", 60)
    case = case_of("rate-far-too-low")
    grid = perform(settings_of("rates", case))
    rate = hosts.BY_NAME[case.host].rates[case.optimizer]
    assert grid["rates"] == pytest.approx([rate * 2**power for power in range(-4, 5)])
    best = min(range(9), key=grid["ends"].__getitem__)
    assert (grid["best_rate"], grid["best_end"]) == (grid["rates"][best], grid["ends"][best])
    assert grid["ends"][0] > 1.1 * grid["best_end"]


def test_every_remedy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that can be applied, the one that is made for a low rate gets furthest."""
    monkeypatch.setattr(run, "updates_of", lambda case, samples: 60)
    search = perform(settings_of("search", case_of("rate-far-too-low"), budget=100))
    ends = {name: end for name, end in search["ends"].items() if isinstance(end, float)}
    assert search["remedies"] == len(remedies.ALL) > len(ends)
    assert ends["raise-learning-rate"] < 0.9 * max(ends.values())


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["ward", "--list", "--kinds", "softmax-twice", "--part", "all"]) == 0
    listed = capsys.readouterr().out
    assert "calibration  softmax-twice/perceptron" in listed
    assert "held-out  softmax-twice/bag-of-words" in listed
    ledger, document = tmp_path / "ward.sqlite", tmp_path / "ward.json"
    asked = ["ward", "--kinds", "body-missing", "--hosts", "perceptron", "--limit", "1", "--budget", "100"]
    for _ in range(2):
        assert cli.run([*asked, "--ledger", str(ledger), "--json", str(document)]) == 0
        captured = capsys.readouterr()
        assert "| cause named first | ≥ 90 % | 100% (1/1;" in captured.out
        assert "ward.html" in captured.err
    (row,) = json.loads(document.read_text(encoding="utf-8"))["rows"]
    assert row["result"]["cause"] == "broken-wiring"


def test_ends_are_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that were not asked for stay."""
    case, other = case_of("body-missing"), case_of("head-exchanged")
    kept = tmp_path / "ends.json"
    kept.write_text(json.dumps({other.name: asdict(design.twins()[other.name])}), encoding="utf-8")
    monkeypatch.setattr(design, "ENDS", kept)
    asked = ["ward", "--verify", "--kinds", "body-missing", "--hosts", "perceptron", "--limit", "1"]
    assert cli.run([*asked, "--ledger", str(tmp_path / "ends.sqlite")]) == 0
    assert list(json.loads(kept.read_text(encoding="utf-8"))) == [case.name, other.name]
    assert "2 faults hurt, 0 healthy trainings" in capsys.readouterr().out


def test_a_ledger_of_other_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "old.sqlite"
    with Ledger(path) as ledger:
        ledger.enter([settings_of("ends", case_of("body-missing")) | {"code": "of yesterday"}])
    assert cli.run(["ward", "--limit", "1", "--ledger", str(path)]) == cli.BAD_INPUT
    assert "runs of other code than there is now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--kinds", "nonsense"], "the ward has no 'nonsense'"),
        (["--shard", "3/2"], "shard 3/2"),
        (["--kinds", "closed-gates", "--hosts", "perceptron"], "no case of the ward"),
        (["--part", "most"], "'most' is not one of"),
    ],
)
def test_bad_input_is_one_line(options: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["ward", *options]) == cli.BAD_INPUT
    assert says in capsys.readouterr().err
