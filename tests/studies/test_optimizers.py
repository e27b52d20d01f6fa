"""The study of all methods side by side, at a small size."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from unstuck.studies.optimizers import BASE, COMPARED, FEW, SAYS, STUDY, chosen_of, draw, measure, plan, run
from unstuck.study import Run, Runs
from unstuck.study.experiments.tuned import KINDS, METHODS


def _done(settings: dict[str, Any]) -> Run:
    return Run(settings, json.loads(json.dumps(run(**settings))))


def _part(seed: int, kind: str, factor: float) -> Run:
    """A run in which every method but gradient descent has so many times its losses."""
    names = [name for name in METHODS if kind != "apart" or name not in FEW]
    chosen = {
        name: dict.fromkeys(("learned", "chosen", "held out"), 0.5 * (1.0 if name == BASE else factor))
        for name in names
    }
    return Run(
        {"seed": seed, "part": kind, "updates": 6},
        {"chosen": chosen, "rates": {name: [[0.1, 0.2], [0.5, None]] for name in names}, "numbers": {}},
    )


def test_what_counts_is_chosen_by_validation() -> None:
    found = {"rates": [1.0, 2.0, 4.0], "chosen": [0.3, 0.1, 0.2], "held out": [0.1, 0.4, 0.2]}
    assert chosen_of(found) == {"rates": 2.0, "chosen": 0.1, "held out": 0.4}


def test_every_method_is_tried_alike() -> None:
    found = _done({"seed": 7, "part": "alike", "updates": 6, "settings": 2}).result
    assert set(found["chosen"]) == set(METHODS)
    assert {np.shape(own) for own in found["rates"].values()} == {(2, 2)}
    assert found["numbers"].keys() == {
        "SAM at equal gradients over momentum",
        "curvature at the end of SAM over momentum",
    }


def test_a_method_is_better_only_beyond_the_paired_intervals() -> None:
    def better(factors: tuple[float, ...]) -> float:
        runs = Runs([_part(seed, kind, factor) for seed, factor in enumerate(factors) for kind in KINDS])
        measured = {each.name: each.values for each in measure(runs)}
        ratio = measured["Adam over gradient descent, inputs scaled apart"]
        assert list(ratio.values()) == pytest.approx(list(factors))
        count = measured["methods that are better than gradient descent, inputs alike"][0]
        exact = Run({"seed": 0, "part": "exact"}, {"times": dict.fromkeys(METHODS, 1.0)})
        summary = draw(Runs([*runs, exact]))["ends"].layout.meta["summary"]
        assert ("inputs alike: none" in summary) == (count == 0)
        return count

    assert better((0.5, 0.51, 0.49, 0.5, 0.52)) == len(METHODS) - 1
    assert better((0.5, 1.5, 0.4, 0.9, 1.1)) == 0
    assert better((1.5, 1.51, 1.49, 1.5, 1.52)) == 0


def test_everything_that_is_said_is_measured_and_drawn() -> None:
    exact = _done({"seed": 7, "part": "exact"})
    assert exact.result["numbers"].keys() < SAYS.keys()
    runs = Runs([exact, *(_part(7, kind, 0.8) for kind in KINDS)])
    measured = {each.name for each in measure(runs)}
    assert measured >= {gate.measurement for gate in STUDY.gates}
    assert measured > COMPARED.keys() | SAYS.keys()
    assert draw(runs).keys() == {"ends", "table", "times", "rates"}
    cells = dict(
        zip(draw(runs)["table"].data[0].header["values"], draw(runs)["table"].data[0].cells["values"], strict=True)
    )
    assert dict(zip(cells["<b>method</b>"], cells["<b>gradients</b>"], strict=True)) == dict.fromkeys(METHODS, "6") | {
        "SAM": "12"
    }
    assert {settings["part"] for settings in plan((7,), quick=True)} == {*KINDS, "exact"}
