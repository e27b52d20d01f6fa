"""The prescription: the remedies whose trials won, with their settings, in a form that can be applied again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unstuck import remedies
from unstuck.errors import InputError
from unstuck.problem import Problem
from unstuck.remedy import Remedy


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What the trial measured: the share of the excess loss removed, and the interval of the difference."""

    fraction: float
    interval: tuple[float, float]
    says: str


@dataclass(frozen=True, kw_only=True)
class Prescription:
    """Remedies to apply in turn, after ``from_update`` updates of the training as it is."""

    from_update: int
    steps: tuple[Remedy, ...]
    gain: Gain

    @property
    def remedy(self) -> str:
        """The slug of the first step."""
        return self.steps[0].slug

    def apply(self, problem: Problem) -> Problem:
        """A new problem, treated; the given one is not touched."""
        treated = problem.branch()
        for remedy in self.steps:
            treated = remedy.apply(treated)
        return treated

    def document(self, problem: Problem) -> dict[str, Any]:
        """As JSON types, with each step's change to the caller's code."""
        return {
            "from_update": self.from_update,
            "remedy": self.remedy,
            "steps": [
                {
                    "remedy": step.slug,
                    "settings": dataclasses.asdict(step),  # type: ignore[call-overload]
                    "says": step.says(),
                    "diff": step.diff(problem),
                }
                for step in self.steps
            ],
            "gain": dataclasses.asdict(self.gain),
        }

    @staticmethod
    def of(document: Mapping[str, Any]) -> Prescription:
        """Read back from JSON types.

        Raises:
            InputError: a remedy or a setting is not known.
        """
        known = {remedy.slug: remedy for remedy in remedies.ALL}
        steps: list[Remedy] = []
        for step in document["steps"]:
            if step["remedy"] not in known:
                raise InputError(f"prescription: no remedy {step['remedy']!r}; known are {', '.join(sorted(known))}")
            try:
                steps.append(known[step["remedy"]](**step["settings"]))
            except TypeError as error:
                raise InputError(f"prescription: the settings of {step['remedy']} do not fit: {error}") from error
        gain = document["gain"]
        return Prescription(
            from_update=int(document["from_update"]),
            steps=tuple(steps),
            gain=Gain(fraction=gain["fraction"], interval=tuple(gain["interval"]), says=gain["says"]),
        )
