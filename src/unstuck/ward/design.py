"""Which cases there are: a fraction of all combinations, in which each host, optimizer and severity takes its turn.

Kinds of faults and hosts are split, once and for all, into a part on which thresholds may be chosen and one that no
threshold has seen: a case is of the latter where its kind or its host is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from unstuck.errors import InputError
from unstuck.ward import faults, healthy, hosts
from unstuck.ward.case import Case
from unstuck.ward.fault import Fault
from unstuck.ward.healthy import Wellness
from unstuck.ward.outcome import Healthy, Twins

Part = Literal["calibration", "held-out"]

ENDS = Path(__file__).with_name("ends.json")
"""Where the ends of trainings are kept, as ``unstuck ward --verify`` finds them."""

SEEDS = 3
FEWEST, MOST = 3, 4
"""Cases of a kind of fault."""

JOINED = ("bag-of-words", "mixer")
"""Hosts that came later: the cases on them follow those on the first six, which keep their names."""

UNSEEN_HOSTS = JOINED

UNSEEN_KINDS = (
    *("scale-left-in", "mean-taken-twice", "hidden-in-a-list", "batches-of-a-kind", "repeated-samples"),
    *("dropout-on-inputs", "unknown-words", "unnormalized-shortcuts", "deep-convolutions", "zero-scales"),
    *("slow-statistics-between-layers", "rectified-outputs", "masked-logarithm", "far-codes"),
    *("normalized-in-the-model", "zero-head", "never-shuffled", "sorted-and-shuffled", "restarted"),
    *("unused-features", "smoothed-targets", "tied"),
)
"""Of faults, and of ways to be healthy that look ill."""

PAIRS = (
    ("rate-far-too-low", "large-inputs", "perceptron"),
    ("rate-far-too-low", "body-missing", "convolutional"),
    ("rate-far-too-low", "softmax-twice", "residual"),
    ("rate-far-too-high", "body-missing", "perceptron"),
    ("rate-far-too-high", "column-scales", "autoencoder"),
    ("rate-far-too-high", "softmax-twice", "transformer"),
    ("zero-weights", "rate-far-too-low", "perceptron"),
    ("zero-weights", "column-scales", "autoencoder"),
    ("zero-weights", "body-missing", "recurrent"),
    ("softmax-twice", "column-scales", "perceptron"),
    ("softmax-twice", "body-missing", "convolutional"),
    ("squared-error-on-softmax", "rate-far-too-low", "convolutional"),
    ("sigmoid-before-cross-entropy", "large-inputs", "residual"),
    ("dead-rectifiers", "rate-far-too-low", "perceptron"),
    ("dead-rectifiers", "softmax-twice", "convolutional"),
    ("sorted-by-target", "rate-far-too-low", "residual"),
    ("sorted-by-target", "large-inputs", "perceptron"),
    ("weight-decay", "column-scales", "perceptron"),
    ("dropout", "rate-far-too-low", "autoencoder"),
    ("slow-statistics", "rate-far-too-low", "convolutional"),
    ("head-missing", "shifted-inputs", "recurrent"),
    ("saturated-units", "column-scales", "autoencoder"),
    ("deep-sigmoid", "rate-far-too-low", "perceptron"),
    ("not-a-number", "rate-far-too-low", "recurrent"),
    ("rate-far-too-low", "body-missing", "bag-of-words"),
    ("rate-far-too-low", "large-inputs", "mixer"),
    ("rate-far-too-high", "body-missing", "mixer"),
    ("rate-far-too-high", "softmax-twice", "bag-of-words"),
    ("zero-weights", "body-missing", "bag-of-words"),
    ("sorted-by-target", "softmax-twice", "bag-of-words"),
    ("weight-decay", "shifted-inputs", "mixer"),
    ("not-a-number", "frozen-body", "mixer"),
    ("dropout-on-inputs", "hidden-in-a-list", "autoencoder"),
    ("dropout-on-inputs", "batches-of-a-kind", "convolutional"),
    ("zero-scales", "batches-of-a-kind", "convolutional"),
    ("deep-convolutions", "batches-of-a-kind", "residual"),
    ("hidden-in-a-list", "batches-of-a-kind", "perceptron"),
    ("masked-logarithm", "hidden-in-a-list", "transformer"),
    ("unnormalized-shortcuts", "batches-of-a-kind", "perceptron"),
    ("rectified-outputs", "dropout-on-inputs", "perceptron"),
)
"""Two faults, and the host that has both."""


def all_candidates() -> tuple[Case, ...]:
    """Every case that there could be."""
    return (*candidates(), *doubles(), *well())


def twins() -> dict[str, Twins]:
    """By the names of cases: where the training ends as it is, and mended."""
    return {name: Twins(**ends) for name, ends in _stored(ENDS).items() if "mended" in ends}


def healthy_ends() -> dict[str, Healthy]:
    """By the names of healthy cases: where they end, infinity for one that broke, and where they should."""
    found = {name: ends for name, ends in _stored(ENDS).items() if "level" in ends}
    return {
        name: Healthy(end=math.inf if ends["end"] is None else ends["end"], level=ends["level"])
        for name, ends in found.items()
    }


@cache
def _stored(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def faulty() -> tuple[Case, ...]:
    """Cases with one fault, of which it is known that it hurts."""
    known = twins()
    return tuple(case for case in candidates() if case.name in known and known[case.name].hurts)


def healthy_cases() -> tuple[Case, ...]:
    """Cases without a fault, of which it is known that they get where they should."""
    known = healthy_ends()
    return tuple(case for case in well() if case.name in known and known[case.name].well)


def every_case() -> tuple[Case, ...]:
    """All that are diagnosed: with a fault, with two, with none."""
    return (*faulty(), *doubles(), *healthy_cases())


def chosen(
    cases: Sequence[Case],
    *,
    part: str | None = None,
    kinds: Sequence[str] = (),
    of_hosts: Sequence[str] = (),
    limit: int | None = None,
) -> tuple[Case, ...]:
    """Those of one part, of some kinds and hosts, and of these as many as are wanted, evenly spread.

    Raises:
        InputError: there are none.
    """
    known = {kind for case in cases for kind in case.kinds}
    for name in (*kinds, *of_hosts):
        if name not in known | set(hosts.BY_NAME):
            raise InputError(f"the ward has no {name!r}; see unstuck ward --list")
    found = [
        case
        for case in cases
        if (part is None or part_of(case) == part)
        and (not kinds or set(kinds) & set(case.kinds))
        and (not of_hosts or case.host in of_hosts)
    ]
    if not found:
        raise InputError("no case of the ward is of these kinds, on these hosts and in this part; ask for less")
    count = len(found) if limit is None else min(limit, len(found))
    return tuple(found[place * len(found) // count] for place in range(count))


def candidates() -> tuple[Case, ...]:
    """Every case with one fault, also of severities that turn out to do no harm."""
    return tuple(case for place, fault in enumerate(faults.ALL) for case in _of_fault(fault, place))


def _of_fault(fault: Fault, place: int) -> list[Case]:
    """Hosts, optimizers, severities and seeds move on at different paces, so that they mix."""
    first, joined = _by_age(fault.hosts)
    count = min(MOST, max(FEWEST, len(first)))
    turns = [sum(divmod(number, len(first))) for number in range(count)]
    on = [first[(place + number) % len(first)] for number in range(count)]
    return [
        Case(
            group="faulty",
            kinds=(fault.kind,),
            severities=(_turn(fault.severities, turn),),
            host=host,
            optimizer=fault.optimizers[(place // 2 + number) % len(fault.optimizers)],
            seed=(place + number) % SEEDS,
        )
        for number, (host, turn) in enumerate(zip((*on, *joined), (*turns, place, place + 1), strict=False))
    ]


def _by_age(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The hosts that the ward began with, and those that joined it."""
    return [name for name in names if name not in JOINED], [name for name in names if name in JOINED]


def _turn(severities: Sequence[float], number: int) -> float | None:
    return severities[number % len(severities)] if severities else None


def well() -> tuple[Case, ...]:
    """Every case without a fault."""
    return tuple(case for place, each in enumerate(healthy.ALL) for case in _of_wellness(each, place))


def _of_wellness(wellness: Wellness, place: int) -> list[Case]:
    first, joined = _by_age(wellness.hosts)
    circles = math.ceil(wellness.runs / len(first))
    numbers = range(len(joined) * place, len(joined) * (place + circles))
    return [
        *(_well(wellness, first, number) for number in range(wellness.runs)),
        *(_well(wellness, joined, number) for number in numbers),
    ]


def _well(wellness: Wellness, on: Sequence[str], number: int) -> Case:
    """Each host in turn, which meets another optimizer every time, and then another seed."""
    circle, turn = divmod(number, len(on))
    return Case(
        group="healthy",
        kinds=(wellness.kind,),
        host=on[turn],
        optimizer=wellness.optimizers[(circle + turn) % len(wellness.optimizers)],
        seed=(circle + circle // len(wellness.optimizers) + turn // 2) % SEEDS,
    )


def doubles() -> tuple[Case, ...]:
    """Cases with two faults."""
    return tuple(
        Case(
            group="double",
            kinds=(first, second),
            severities=tuple(_turn(faults.BY_KIND[kind].severities, -1) for kind in (first, second)),
            host=host,
            optimizer=hosts.OPTIMIZERS[number % len(hosts.OPTIMIZERS)],
            seed=number % SEEDS,
        )
        for number, (first, second, host) in enumerate(PAIRS)
    )


def part_of(case: Case) -> Part:
    """Whether thresholds may be chosen on a case."""
    unseen = case.host in UNSEEN_HOSTS or any(kind in UNSEEN_KINDS for kind in case.kinds)
    return "held-out" if unseen else "calibration"
