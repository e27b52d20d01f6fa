"""The study of normalizations: what is made of results by hand, and small runs of each part."""

from __future__ import annotations

from typing import Any

import pytest

from unstuck.studies.normalizations import NAMES, OF_CLASSES, OF_IMAGES, OF_UPDATES, STUDY, draw, measure, plan, run
from unstuck.study import Run, Runs
from unstuck.study.experiments.normalizations import KINDS


def by_hand() -> list[Run]:
    """One seed, where kind number k errs on k + 100/size per cent, and batch normalization on 90 on one class."""
    exact = {"error": 0.0, "batch": 0.5, "others": 0.0, "layers": 1.0, "convolution": 1.5}
    runs = [Run({"seed": 7, "part": "formulas"}, exact)]
    for part, kinds in (("epochs", KINDS), ("updates", OF_UPDATES)):
        for size in (2, 8, 32):
            errors = {kind: KINDS.index(kind) + 100.0 / size for kind in kinds}
            losses = {kind: (2.0 if kind == "batch" else 0.5) ** (8 / size) for kind in kinds}
            result = {"error": errors, "loss": losses, "anew": errors["batch"] - 0.25}
            runs.append(Run({"seed": 7, "part": part, "size": size}, result))

    def modes(kinds: tuple[str, ...], batch: float) -> dict[str, Any]:
        return {kind: {"testing": batch if kind == "batch" else 3.0, "training": 3.0} for kind in kinds}

    classes = {"one class": modes(OF_CLASSES, 90.0), "shuffled": modes(OF_CLASSES, 3.5)}
    runs.append(Run({"seed": 7, "part": "classes"}, classes))
    runs.append(Run({"seed": 7, "part": "images"}, {"one class": modes(OF_IMAGES, 5.0)}))
    return runs


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points of error from batches of 8 to 2, group normalization", 37.5),
        ("points of error from batches of 8 to 2, batch over group normalization", 0.0),
        ("loss in batches of 2 over batches of 8, batch normalization", 8.0),
        ("loss in batches of 2 over batches of 8, the worst of the others", 0.125),
        ("error over group normalization's in batches of 32, batch normalization", -4.0),
        ("loss in batches of 2 over batch renormalization's", 256.0),
        ("points saved in batches of 2 by averages taken anew", 0.25),
        ("points of error from batches of 32 to 2, as many updates, group normalization", 46.875),
        ("batch normalization's error over that of group normalization, batches of one class", 87.0),
        ("batch normalization's error over that of group normalization, shuffled batches", 0.5),
        ("batch normalization's error over that of group normalization, convolutions, one class", 2.0),
        ("stretch of a convolution with spectral normalization", 1.5),
    ],
)
def test_what_is_measured_of_results_by_hand(name: str, value: float) -> None:
    found = {each.name: each.values for each in measure(Runs(by_hand()))}
    assert found[name] == {7: pytest.approx(value)}


def test_every_gate_is_on_something_measured_and_pictures_show_the_kinds() -> None:
    runs = Runs(by_hand())
    assert {gate.measurement for gate in STUDY.gates} <= {each.name for each in measure(runs)}
    drawn = draw(runs)
    assert [trace.name for trace in drawn["updates"].data] == [NAMES[kind] for kind in OF_UPDATES]
    assert list(drawn["sizes"].data[0].y) == pytest.approx([51.0, 13.5, 4.125])


def test_the_rate_is_in_proportion_to_the_batch_in_as_many_epochs_alone() -> None:
    own = run(seed=1, part="epochs", size=648, rates=[0.1])
    assert own["rate"] == dict.fromkeys(KINDS, pytest.approx(0.1 * 648 / 32))
    assert all(error <= 100.0 for error in own["error"].values())


def test_batches_of_one_class_are_the_harder_ones_for_batch_normalization() -> None:
    found = run(seed=1, part="classes", updates=40)
    assert set(found["one class"]) == set(OF_CLASSES)
    assert found["one class"]["batch"]["testing"] > found["shuffled"]["batch"]["testing"] + 30.0
    assert set(run(seed=1, part="images", updates=2)["one class"]) == set(OF_IMAGES)


def test_quick_runs_are_fewer() -> None:
    assert len(plan((0, 1), True)) < len(plan((0, 1), False))
    assert {settings["part"] for settings in plan((0,), True)} == {settings["part"] for settings in plan((0,), False)}
