"""What is known of normalizations, by matrices written out, and by mistakes that must be seen."""

from __future__ import annotations

import pytest

from unstuck.study.experiments.normalization_formulas import (
    dependence,
    errors,
    known,
    stretch_of_convolution,
    stretch_of_layers,
)


@pytest.mark.parametrize("seed", [0, 3])
def test_what_is_known_holds(seed: int) -> None:
    found = errors(seed)
    assert set(found) == {"instance", "layer", "group", "batch", "renormalization", "weight", "spectral"}
    assert max(found.values()) < 1e-12


@pytest.mark.parametrize(
    ("kind", "depends"), [("batch", True), ("layer", False), ("instance", False), ("group", False)]
)
def test_samples_depend_on_others_in_batch_normalization_alone(kind: str, depends: bool) -> None:
    assert (dependence(kind, 1) > 0.05) == depends
    assert depends or dependence(kind, 1) == 0.0


def test_layers_stretch_by_one_and_a_convolution_by_more_but_not_by_three() -> None:
    assert stretch_of_layers(2) == pytest.approx(1.0, abs=1e-9)
    assert 1.2 < stretch_of_convolution(2) <= 3.0  # each place is in 9 windows, so that √9 is the most


def test_all_is_gathered_under_its_names() -> None:
    found = known(4)
    assert found["error"] == max(errors(4).values())
    assert found["others"] == 0.0
    assert found["batch"] == dependence("batch", 4)
