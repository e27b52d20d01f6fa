"""A study: its claim, its runs, and what is made of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from unstuck.errors import InputError
from unstuck.study.gate import Gate, Measurement

if TYPE_CHECKING:
    import plotly.graph_objects as go

Settings = Mapping[str, Any]

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

SEED = "seed"
"""The setting that every run has."""


@dataclass(frozen=True)
class Run:
    """One run that is done: the settings that decided it, and its result, both JSON."""

    settings: Settings
    result: Mapping[str, Any]

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.settings[SEED])


class Runs:
    """Runs that are done, in the order in which they were planned."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = tuple(runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Each seed once, from the lowest."""
        return tuple(sorted({run.seed for run in self._runs}))

    def where(self, **settings: Any) -> Runs:
        """Those with these settings."""
        missing = object()
        return Runs(
            [
                run
                for run in self._runs
                if all(run.settings.get(name, missing) == value for name, value in settings.items())
            ]
        )

    def results(self) -> list[Mapping[str, Any]]:
        """What they gave."""
        return [run.result for run in self._runs]

    def of_seed(self, seed: int) -> Mapping[str, Any]:
        """The result of the one run with this seed. Raises InputError where there are more, or none."""
        found = [run.result for run in self._runs if run.seed == seed]
        if len(found) != 1:
            raise InputError(f"there are {len(found)} runs of seed {seed} here, where one is asked for")
        return found[0]

    def per_seed(self, name: str) -> dict[int, float]:
        """A number of the results, by seed; NaN where it was not finite. One run of each seed is expected."""
        values = {seed: self.of_seed(seed)[name] for seed in self.seeds}
        return {seed: math.nan if value is None else float(value) for seed, value in values.items()}

    def measured(self, says: Mapping[str, str], missing: float = math.nan) -> list[Measurement]:
        """What results hold under ``numbers``, by seed.

        Args:
            says: what each of these numbers is, by its name.
            missing: stands for those that were not finite.
        """
        values: dict[str, dict[int, float]] = {name: {} for name in says}
        for run in self:
            for name, number in run.result.get("numbers", {}).items():
                values[name][run.seed] = missing if number is None else number
        return [Measurement(name=name, says=says[name], values=own) for name, own in values.items()]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A claim of the lecture or of a paper that it cites, put to the test.

    Attributes:
        name: its slug, as the command line has it.
        title: a few words.
        chapter: of the lecture, 0 for what goes beyond it.
        claim: what is said to be so, in one line.
        source: who says it, and where.
        setting: what is trained on what, in a sentence or two.
        explains: a paragraph for students: what they see, and why it is so.
        gates: the inequalities, the heart of the claim first. They were fixed before the runs that they judge.
        plan: (seeds, quick) → the settings of all runs, JSON, each with its ``seed``; quick ones are fewer or shorter.
        run: performs one of them, called with its settings by name; gives JSON, where NaN becomes null.
        measure: what the gates are about, from all runs.
        draw: the pictures, by names.
        alone: whether its runs time things, so that nothing else may go on beside one.
        data: whether its networks may be trained on other data than the digits: ``run`` is then given ``data``, a name
            for :func:`unstuck.datasets.load`.
        device: whether its runs may be performed elsewhere: ``run`` is then given ``device``, as torch names it.
        takes: seconds on two cores, in full and quick, as measured once.
        seeds: for the verdict.
        quick_seeds: for a first look.

    Raises:
        InputError: the name is no slug, there is no claim among the gates, or two gates say the same.
    """

    name: str
    title: str
    chapter: Literal[0, 1, 2, 3, 4, 5]
    claim: str
    source: str
    setting: str
    explains: str
    gates: tuple[Gate, ...]
    plan: Callable[[Sequence[int], bool], Sequence[Settings]]
    run: Callable[..., Mapping[str, Any]]
    measure: Callable[[Runs], Sequence[Measurement]]
    draw: Callable[[Runs], Mapping[str, go.Figure]]
    takes: tuple[int, int]
    alone: bool = False
    data: bool = False
    device: bool = False
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    quick_seeds: tuple[int, ...] = (0, 1)

    def __post_init__(self) -> None:
        if not SLUG.fullmatch(self.name):
            raise InputError(f"the name of a study is in small letters with hyphens; got {self.name!r}")
        if not any(gate.role == "claim" for gate in self.gates):
            raise InputError(f"study {self.name}: none of its gates is the claim")
        if len({gate.says for gate in self.gates}) < len(self.gates):
            raise InputError(f"study {self.name}: two of its gates say the same")
