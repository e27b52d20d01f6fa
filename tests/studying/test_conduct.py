"""Studies conducted: what is done is kept, what failed is told, and nothing depends on where runs are performed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.own_study import BROKEN, LOG

from unstuck.errors import InputError
from unstuck.executor import workers
from unstuck.ledger import Ledger
from unstuck.studying.catalogue import Asked, runs_of
from unstuck.studying.conduct import Conducted, conduct

OWN = str(Path(__file__).parents[1] / "own_study.py")
HERE = workers(threads=1)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(LOG, str(tmp_path / "log"))
    return tmp_path / "log"


def performed(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.is_file() else 0


def conducted(tmp_path: Path, *, jobs: int = 1, **asked: Any) -> dict[str, Any]:
    on = workers(jobs=jobs, threads=1)
    (found,) = conduct([f"{OWN}:STUDY"], tmp_path / "ledger.sqlite", on, Asked(**asked)).studies
    return found


def timeless(study: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in study.items() if name != "seconds"}


def test_a_study_from_a_file_is_judged_on_all_its_seeds(tmp_path: Path, log: Path) -> None:
    study = conducted(tmp_path)
    assert (study["name"], study["verdict"], study["runs"], study["seeds"]) == (
        "logistic-map",
        "agrees",
        12,
        [*range(6)],
    )
    assert study["measurements"][0]["values"] == {str(seed): pytest.approx(0.6) for seed in range(6)}
    assert study["statistics"][0] | {"interval": None} == {
        "measurement": "rest",
        "holds": True,
        "over": "every seed",
        "seeds": 6,
        "agreeing": 6,
        "interval": None,
        "p_value": pytest.approx(1 / 64),
        "value": pytest.approx(0.6),
    }
    assert study["gate"][0]["role"] == "claim"
    assert study["pictures"]["ends"]["layout"]["meta"]["summary"] == "Every orbit ends at the same place."
    assert performed(log) == 12


def test_to_conduct_again_is_to_go_on(tmp_path: Path, log: Path) -> None:
    conducted(tmp_path, seeds=(0, 1))
    assert performed(log) == 4
    conducted(tmp_path, seeds=(1, 2))
    assert performed(log) == 6
    conducted(tmp_path, quick=True, seeds=(2, 3))
    assert performed(log) == 7
    again = conducted(tmp_path, seeds=(0, 1))
    assert (performed(log), again["seeds"]) == (7, [0, 1])


def test_interrupted_anywhere_and_resumed_is_as_if_uninterrupted(tmp_path: Path, log: Path) -> None:
    def interrupting(doing: str, done: float) -> None:
        if done > 0.4:
            raise KeyboardInterrupt

    ledger = tmp_path / "ledger.sqlite"
    broken = conduct([f"{OWN}:STUDY"], ledger, HERE, Asked(), progress=interrupting)
    assert broken.interrupted
    assert broken.studies[0]["verdict"] is None
    assert 0 < performed(log) < 12
    resumed = timeless(conducted(tmp_path))
    assert performed(log) == 12
    assert resumed == timeless(conducted(tmp_path / "other"))


def test_processes_give_what_this_one_gives(tmp_path: Path) -> None:
    assert timeless(conducted(tmp_path / "one")) == timeless(conducted(tmp_path / "two", jobs=2))


def test_a_run_that_fails_leaves_no_verdict_and_is_tried_again(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BROKEN, "1")
    study = conducted(tmp_path, seeds=(0, 1))
    assert (study["verdict"], study["measurements"], study["statistics"], study["pictures"]) == (None, [], [], {})
    assert [failure["settings"] for failure in study["failed"]] == [{"seed": s, "arm": "wild"} for s in (0, 1)]
    assert study["failed"][0]["error"] == "RuntimeError: the second arm is out of order"
    assert performed(log) == 2
    monkeypatch.delenv(BROKEN)
    assert conducted(tmp_path, seeds=(0, 1))["verdict"] == "agrees"
    assert performed(log) == 4


def test_what_others_left_open_in_a_ledger_is_not_touched(tmp_path: Path, log: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.enter([{"study": "of another time", "seed": 0}])
    conducted(tmp_path, seeds=(0,))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert [row.state for row in ledger.rows()] == ["open", "done", "done"]


def test_a_file_that_was_changed_gives_new_runs(tmp_path: Path, log: Path) -> None:
    mine = tmp_path / "changing_study.py"
    shutil.copy(OWN, mine)
    before = runs_of(f"{mine}:STUDY", Asked())
    assert runs_of(f"{mine}:STUDY", Asked()) == before
    mine.write_text(mine.read_text().replace("20_000", "30_000"))
    after = runs_of(f"{mine}:STUDY", Asked())
    assert [run["seed"] for run in after] == [run["seed"] for run in before]
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_runs_of_a_study_in_a_module_are_known_by_its_source_as_well() -> None:
    (by_module, *_), (by_file, *_) = (runs_of(name, Asked()) for name in ("tests.own_study:STUDY", f"{OWN}:STUDY"))
    assert by_module["code"] == by_file["code"]


def of(reference: str) -> Callable[[Path], Conducted]:
    return lambda folder: conduct([reference], folder / "ledger.sqlite", HERE, Asked())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (of("minimum-ration"), "there is no study 'minimum-ration'; there are .*minimum-ratio"),
        (of(f"{OWN}:STUDIES"), "has no 'STUDIES'; it has: STUDY"),
        (of(f"{OWN}:NUMBER"), "this is a int; it must be an unstuck.study.Study"),
        (of("missing.py:STUDY"), "there is no file missing.py"),
        (of(f"{OWN}:"), "write path/to/file.py:NAME"),
    ],
)
def test_studies_that_are_not_there(tmp_path: Path, call: Callable[[Path], Conducted], said: str) -> None:
    with pytest.raises(InputError, match=said):
        call(tmp_path)
