"""The study of a rate for each parameter, at a small size."""

from __future__ import annotations

import pytest
import torch

from unstuck.fleet import Member, train_fleet
from unstuck.methods.update import gradient_descent
from unstuck.studies import adaptive_rates
from unstuck.studies.adaptive_rates import PAIRED, SAYS, STUDY, draw, measure, run, spread
from unstuck.study import Run, Runs


@pytest.fixture(scope="module")
def runs() -> Runs:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptive_rates, "SURFACE_UPDATES", 2_000)
        patch.setattr(adaptive_rates, "TRAINED", 20)
        patch.setattr(adaptive_rates, "PAIRED", (4, 8))
        surfaces = {"seed": 7, "part": "surfaces", "updates": 500}
        networks = {"seed": 7, "part": "networks"}
        return Runs([Run(surfaces, run(7, "surfaces", 500)), Run(networks, run(7, "networks"))])


def test_every_gate_has_its_number(runs: Runs) -> None:
    assert {gate.measurement for gate in STUDY.gates} == SAYS.keys()
    measured = {each.name: each.values for each in measure(runs)}
    assert all(own.keys() == {7} for own in measured.values())
    assert measured["valleys on which the lecture's Adagrad bursts"][7] > 0.5
    assert measured["valleys on which Adagrad bursts"] == {7: 0.0}
    assert measured["updates on the crescent, Adagrad"] == {7: 1.0}  # neither arrives so soon, and both count in full


def test_pictures_are_drawn(runs: Runs) -> None:
    assert draw(runs).keys() == {"rates", "crescent", "networks"}


def test_the_spread_of_steps_is_that_of_known_gradients() -> None:
    # Ten weights w with the loss Σ c w, c = 1 … 10: steps are as the c.
    sizes = torch.arange(1.0, 11.0)[:, None]
    looks = {more for look in PAIRED for more in (look, look + 1)}
    fleet = train_fleet(
        lambda: torch.nn.Linear(1, 10, bias=False),
        lambda outputs, targets: (outputs * targets).sum(1),
        torch.ones(4, 1),
        sizes.T.expand(4, 10),
        [Member(rule=gradient_descent(0.01), batch_size=4)],
        251,
        keep=looks,
    )
    assert spread(fleet, 0) == pytest.approx(9.1 / 1.9, rel=1e-3)
