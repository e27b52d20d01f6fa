"""Leave a saddle along the direction of most negative curvature; at a degenerate one, by a perturbation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch

from unstuck.initial import perturbation
from unstuck.probes.escape import EscapeReading
from unstuck.problem import Problem
from unstuck.reading import Readings
from unstuck.remedy import Intervention, Ladder
from unstuck.vector import Point, moved, unflatten
from unstuck.view import View


@dataclass(frozen=True, kw_only=True)
class EscapeSaddle:
    """One move off the saddle; the training then goes on as it was.

    The settings say how the direction is computed, not the vector: the eigenvector of the lowest Hessian
    eigenvalue over the sample of ``seed``, ``length`` along it; or, with ``way`` "perturbation", a random
    direction of the size of an ordinary initialization.
    """

    slug: ClassVar[str] = "escape-saddle"
    chapter: ClassVar[int] = 1
    intervention: ClassVar[Intervention] = Intervention.POINT
    lowers_rate: ClassVar[bool] = False
    panacea: ClassVar[bool] = False
    way: str
    length: float
    update: int
    seed: int = 0

    @classmethod
    def propose(cls, readings: Readings) -> tuple[Self, ...]:
        """At the point with the best way out: the length that the escape probe found."""
        escapes = readings.get(EscapeReading)
        if escapes is None:
            return ()
        best = max(escapes.readings, key=lambda ways: ways.curvature_drop - ways.gradient_drop)
        if best.curvature_drop > 0:
            return (cls(way="negative curvature", length=best.curvature_length, update=best.update, seed=best.seed),)
        return (cls(way="perturbation", length=1.0, update=best.update, seed=best.seed),)

    def apply(self, branch: Problem) -> Problem:
        """The branch, moved."""
        point = branch.point()
        there = moved(point, self._direction(branch, point), self.length)
        with torch.no_grad():
            for name, parameter in branch.model.named_parameters():
                if name in there:
                    parameter.copy_(there[name])
        return branch

    def _direction(self, branch: Problem, point: Point) -> Point:
        view = View(branch, update=self.update, seed=self.seed)
        if self.way == "perturbation":
            return perturbation(branch.model, point, view.generator(61))
        if self.way == "positive curvature":
            return unflatten(view.extremes.largest.vectors[-1], point)
        return unflatten(view.extremes.smallest.vectors[0], point)

    def opposite(self) -> Self | None:
        """As far along the eigenvector of the highest curvature, up the walls; None for a perturbation.

        The other way along the lowest one would do as well: a saddle falls off on both sides.
        """
        return replace(self, way="positive curvature") if self.way == "negative curvature" else None

    def ladder(self) -> Ladder:
        """Lengths up to this one."""
        values = (self.length / 100, self.length / 10, self.length / 3, self.length)
        return Ladder(setting="length", doses=tuple(replace(self, length=value) for value in values))

    def says(self) -> str:
        """In a sentence."""
        if self.way == "perturbation":
            return "break the symmetry: add noise of the size of an ordinary initialization to the weights"
        end = "most negative" if self.way == "negative curvature" else "highest"
        return f"step {abs(self.length):.3g} along the eigenvector of the {end} curvature"

    def diff(self, problem: Problem) -> str:
        """The prescription is applied by the library, as it needs the eigenvector."""
        return (
            '+report = unstuck.Report.read("report.json")\n'
            "+treated = report.prescription.apply(problem)  # moves a copy of the model off the saddle\n"
            "+model.load_state_dict(treated.model.state_dict())"
        )
