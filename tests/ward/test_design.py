"""The design: large enough, balanced, split for good, and every fault in it known to hurt."""

from __future__ import annotations

import math

import pytest

from unstuck.errors import InputError
from unstuck.ward import design, faults, healthy, hosts
from unstuck.ward.case import Case
from unstuck.ward.outcome import Twins


def test_it_is_large_enough() -> None:
    names = [case.name for case in (*design.candidates(), *design.doubles(), *design.well())]
    assert len(set(names)) == len(names)
    assert len(design.faulty()) >= 150
    assert len(design.healthy_cases()) >= 100
    assert len(design.doubles()) >= 20


def test_every_fault_in_it_hurts() -> None:
    twins = design.twins()
    assert {case.name for case in (*design.candidates(), *design.doubles())} == set(twins)
    assert all(twins[case.name].mended <= 0.8 * twins[case.name].faulty for case in design.faulty())
    assert all(twins[case.name].hurts for case in design.doubles())
    assert {case.kinds[0] for case in design.faulty()} == set(faults.BY_KIND)
    assert {case.kinds[0] for case in design.healthy_cases()} == set(healthy.BY_KIND)


def test_what_the_file_says_is_what_training_gives() -> None:
    """One of them trained again; on another machine the last digits differ, and whether it hurts does not."""
    case = next(case for case in design.faulty() if case.kinds == ("body-missing",) and case.host == "perceptron")
    found, kept = Twins.of(case), design.twins()[case.name]
    assert found.hurts
    assert found.constant == pytest.approx(kept.constant, rel=1e-6)
    assert (found.faulty, found.mended) == pytest.approx((kept.faulty, kept.mended), rel=0.3)


def test_a_training_that_broke_is_not_well() -> None:
    broken = [ends for ends in design.healthy_ends().values() if math.isinf(ends.end)]
    assert broken
    assert not any(ends.well for ends in broken)


def test_hosts_optimizers_and_seeds_take_turns() -> None:
    for cases in (design.faulty(), design.healthy_cases()):
        for share in (
            [case.host for case in cases],
            [case.optimizer for case in cases],
            [str(case.seed) for case in cases],
        ):
            counts = [share.count(value) for value in set(share)]
            assert min(counts) > 0.3 * sum(counts) / len(counts)
        assert {case.host for case in cases} == set(hosts.BY_NAME)
        assert {case.optimizer for case in cases} == set(hosts.OPTIMIZERS)


def test_both_parts_hold_every_kind_of_question() -> None:
    parts = {name: [case for case in design.every_case() if design.part_of(case) == name]
             for name in ("calibration", "held-out")}  # fmt: skip
    for cases in parts.values():
        assert {case.group for case in cases} == {"faulty", "healthy", "double"}
        assert sum(case.group == "healthy" for case in cases) >= 45
        assert sum(case.group == "faulty" for case in cases) >= 90
        assert sum(case.group == "double" for case in cases) >= 10
    seen = parts["calibration"]
    assert not {case.host for case in seen} & set(design.UNSEEN_HOSTS)
    assert not {kind for case in seen for kind in case.kinds} & set(design.UNSEEN_KINDS)
    assert set(design.UNSEEN_KINDS) <= set(faults.BY_KIND) | set(healthy.BY_KIND)
    assert set(design.UNSEEN_HOSTS) < set(hosts.BY_NAME)


def test_hosts_that_joined_follow_the_others() -> None:
    """So that the cases on the first hosts are those that they were before."""
    for cases in (design.candidates(), design.well()):
        for kind in {case.kinds for case in cases}:
            joined = [case.host in design.JOINED for case in cases if case.kinds == kind]
            assert joined == sorted(joined)
            assert not all(joined)
    assert "zero-weights/perceptron/sgd/0" in {case.name for case in design.candidates()}
    assert "as-it-is/perceptron/sgd/0" in {case.name for case in design.well()}


def test_pairs_are_of_faults_that_their_host_can_have() -> None:
    for first, second, host in design.PAIRS:
        assert host in faults.BY_KIND[first].hosts
        assert host in faults.BY_KIND[second].hosts
        assert not set(faults.BY_KIND[first].accepted) & set(faults.BY_KIND[second].accepted)


def test_cases_come_back_from_json() -> None:
    for case in design.every_case():
        assert Case.of(case.settings) == case


def test_choosing() -> None:
    every = design.every_case()
    assert design.chosen(every, limit=10_000) == every
    few = design.chosen(every, part="calibration", limit=7)
    assert len(few) == 7
    assert {design.part_of(case) for case in few} == {"calibration"}
    assert {case.group for case in few} >= {"faulty", "healthy"}
    twice = design.chosen(every, kinds=["softmax-twice"], of_hosts=["perceptron", "convolutional"])
    assert {case.group for case in twice} == {"faulty", "double"}


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"kinds": ["sofmax-twice"]}, "no 'sofmax-twice'; see unstuck ward --list"),
        ({"of_hosts": ["resnet"]}, "no 'resnet'"),
        ({"kinds": ["closed-gates"], "of_hosts": ["perceptron"]}, "no case of the ward"),
    ],
)
def test_what_is_not_there_is_said(wanted: dict[str, list[str]], says: str) -> None:
    with pytest.raises(InputError, match=says):
        design.chosen(design.every_case(), **wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [({"kinds": ["nothing"]}, "no 'nothing' that is faulty"), ({"host": "resnet"}, "no host 'resnet'")],
)
def test_a_case_that_is_none_is_said(change: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Case.of(design.candidates()[0].settings | change)
