"""Methods at the same tuning budget, at a small size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unstuck.fleet import Member, train_fleet
from unstuck.methods.schedule import Cosine
from unstuck.study.experiments.networks import cross_entropy
from unstuck.study.experiments.tuned import BATCH, KINDS, LEARNED, METHODS, SETTINGS, Digits

DIGITS = {kind: Digits(3, kind, 18) for kind in KINDS}


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.rule is not None])
def test_a_walk_and_a_member_of_a_fleet_end_in_the_same_place(name: str) -> None:
    digits, method = DIGITS["alike"], METHODS[name]
    assert method.rule is not None
    member = Member(rule=method.rule(method.lowest), batch_size=BATCH, seed=3, schedule=Cosine(updates=18))
    fleet = train_fleet(digits.network, cross_entropy, *digits.parts[0], [member], 18)
    walked = nn.utils.parameters_to_vector(digits.walked(name, method.lowest, 18).parameters()).detach()
    torch.testing.assert_close(walked, fleet.parameters[0], rtol=1e-3, atol=1e-4)


def test_the_parts_are_apart_and_a_turn_changes_no_distance() -> None:
    sizes = [len(classes) for _, classes in DIGITS["alike"].parts]
    assert sizes == [LEARNED, 297, 500]
    assert all(bool(inputs.abs().max() <= 3.0) for inputs, _ in DIGITS["alike"].parts)
    apart, turned = (DIGITS[kind].parts[1][0].double() for kind in ("apart", "turned"))
    torch.testing.assert_close(torch.cdist(apart, apart), torch.cdist(turned, turned), rtol=1e-3, atol=1e-2)
    assert not torch.allclose(apart, turned)


@pytest.mark.parametrize("name", ["Adam", "Muon", "SOAP", "schedule-free", "SAM"])
def test_every_method_tries_as_many_rates_and_learns(name: str) -> None:
    found = DIGITS["turned"].tuned(name, settings=2)
    assert found["rates"] == [METHODS[name].lowest * 2.0**number for number in (SETTINGS - 2, SETTINGS - 1)]
    assert {len(values) for values in found.values()} == {2}


def test_a_walk_lowers_the_loss_and_its_end_has_a_curvature() -> None:
    digits = DIGITS["alike"]
    ends = digits.seen(lambda inputs: torch.stack([digits.walked("SOAP", 0.004, 18)(inputs)]).detach())
    start = digits.seen(lambda inputs: digits.problem.model(inputs)[None].detach())
    assert ends["learned"][0] < start["learned"][0]
    assert digits.sharpness(digits.network()) > 0
