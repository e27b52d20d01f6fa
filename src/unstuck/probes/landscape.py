"""Landscape: the loss over planes and along lines through this very point.

A picture shows what its directions hold. Random ones, in proportion to the weights (Li et al. 2018), compare how
sharp two networks are, and hide negative curvature: two random directions hardly ever meet the few that fall. So the
curvature that the picture shows stands beside the Hessian's own; the eigenvectors at both ends are followed too; and
the optimizer's walk from here is drawn in the plane that holds most of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import plotly.graph_objects as go
import scipy.linalg
import torch
from torch import Tensor

from unstuck import plot
from unstuck.budget import Budget
from unstuck.directions import PrincipalPlane, filter_normalized, principal_plane
from unstuck.errors import InputError
from unstuck.initial import perturbation
from unstuck.landscape import grid_losses
from unstuck.reading import Estimate, Reading, quantity
from unstuck.vector import Point, dot, flatten, norm, unflatten
from unstuck.view import View
from unstuck.walk import walk

MARGIN = 1.2
"""Half the side of the walk's picture over the walk's farthest coordinate."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The loss over a plane through θ: ``losses[i][j]`` at ``across[i]``, ``up[j]``; infinite where it is no number."""

    across: tuple[float, ...]
    up: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]

    @property
    def finite(self) -> tuple[float, ...]:
        """All losses that are."""
        return tuple(loss for row in self.losses for loss in row if math.isfinite(loss))

    @property
    def heights(self) -> list[list[float]]:
        """As plotly takes them: a row for each coordinate up."""
        return [list(row) for row in zip(*self.losses, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The loss along a line through θ, from −``span`` to ``span``."""

    name: str
    span: float
    losses: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LandscapeReading(Reading):
    """The loss around this point."""

    probe: ClassVar[str] = "landscape"
    title: ClassVar[str] = "The loss around this point"
    chapter: ClassVar[int] = 1

    loss: float = quantity("loss", "over the sample, at the centre of every picture")
    directions: str = quantity("", "what the random plane is made of")
    plane_lowest: float = quantity("loss", "lowest in the random plane")
    plane_highest: float = quantity("loss", "highest in the random plane, of what is finite")
    slice_lowest: float = quantity(
        "loss / unit²", "smallest curvature in the random plane, by second differences of its nine middle cells"
    )
    slice_largest: float = quantity("loss / unit²", "largest curvature in the random plane, likewise")
    lowest: Estimate = quantity("loss / unit²", "the Hessian's own lowest eigenvalue, with a bound on its error")
    largest: Estimate = quantity("loss / unit²", "the Hessian's own largest eigenvalue, with a bound on its error")
    lowest_over_largest: float | None = quantity(
        "", "|λ_min / λ_max|: near zero where the surface is all but convex (Li et al. 2018); none without curvature"
    )
    walk_updates: int = quantity("", "updates walked from here, by the problem's own optimizer")
    walk_length: float = quantity("unit", "distance from here to the walk's end")
    walk_explained: float | None = quantity(
        "", "share of the walk's squared distances from here that lies in its plane; none where there is no plane"
    )
    non_finite: float = quantity("", "share of the evaluated points at which the loss is not finite")
    plane: Surface = Surface(across=(), up=(), losses=())
    walk_plane: Surface | None = None
    walked: tuple[tuple[float, float], ...] = ()
    walk_shares: tuple[float, float] = (0.0, 0.0)
    profiles: tuple[Profile, ...] = ()

    def draw(self) -> go.Figure:
        """The random plane as contours."""
        figure = plot.figure(
            title=f"{self.title}: a random plane",
            x=f"first direction ({self.directions})",
            y="second direction",
            summary=f"The loss is {self.loss:.3g} in the middle, where we stand, and between {self.plane_lowest:.3g} "
            f"and {self.plane_highest:.3g} around it.",
        )
        _contours(figure, self.plane)
        return _with_here(figure)

    def pictures(self) -> Mapping[str, go.Figure]:
        """The random plane as a surface and as contours, the walk on its plane, and the lines."""
        walk = {} if self.walk_plane is None else {"walk": self._walk(self.walk_plane)}
        return {"surface": self._surface(), "contours": self.draw(), **walk, "profiles": self._profiles()}

    def _surface(self) -> go.Figure:
        figure = plot.figure(
            title=f"{self.title}, in three dimensions",
            x="",
            y="",
            summary="The same plane as the contours: the loss is the height.",
        )
        figure.update_scenes(xaxis_title="first direction", yaxis_title="second direction", zaxis_title="loss")
        figure.add_surface(x=self.plane.across, y=self.plane.up, z=self.plane.heights)
        return figure

    def _walk(self, plane: Surface) -> go.Figure:
        first, second = self.walk_shares
        figure = plot.figure(
            title=f"The next {self.walk_updates} updates on the loss",
            x=f"first principal component ({first:.0%} of the walk)",
            y=f"second ({second:.0%})",
            summary=f"The plane holds {first + second:.1%} of the walk's squared distances from here. The loss "
            f"in it goes from {min(plane.finite):.3g} to {max(plane.finite):.3g}.",
        )
        _contours(figure, plane)
        x, y = zip(*self.walked, strict=True)
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines+markers",
            name="the walk, projected",
            line={"color": plot.COLOURS["opposite"], "width": 2},
            marker={"size": 5},
            showlegend=False,
        )
        return _with_here(figure)

    def _profiles(self) -> go.Figure:
        figure = plot.figure(
            title="The loss along lines through this point",
            x="share of the line's own length",
            y="loss over the sample",
            summary=f"The Hessian's curvature goes from {self.lowest.value:.3g} to {self.largest.value:.3g}; the "
            f"random plane shows {self.slice_lowest:.3g} to {self.slice_largest:.3g}.",
        )
        for profile in self.profiles:
            shares = _coordinates(1.0, len(profile.losses))
            plot.line(figure, shares, profile.losses, name=f"{profile.name}, ± {profile.span:.3g}")
        return figure


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """Two planes of points × points and two lines, and a short walk; a pass forward over the sample for each point.

    Attributes:
        points: on each side of a plane and along a line; odd, so that the middle one is where we stand.
        span: how far the random plane goes, where 1 moves each unit by as much as its weights are long.
        updates: of the walk.
    """

    reads: ClassVar[type[Reading]] = LandscapeReading
    curvature: ClassVar[bool] = True
    once: ClassVar[bool] = False

    points: int = 25
    span: float = 1.0
    updates: int = 40

    def __post_init__(self) -> None:
        if self.points < 3 or self.points % 2 == 0:
            raise InputError(f"landscape: `points` must be odd, and 3 or more, to have a middle; got {self.points}")

    def measure(self, view: View, budget: Budget) -> LandscapeReading:
        directions, label = _random_directions(view)
        plane = _surface(view, directions, (self.span, self.span), self.points)
        loss = plane.losses[self.points // 2][self.points // 2]
        slice_lowest, slice_largest = slice_curvatures(plane, directions)
        ends = view.extremes
        lowest = Estimate(ends.smallest.values[0], ends.smallest.bounds[0])
        largest = Estimate(ends.largest.values[-1], ends.largest.bounds[-1])
        walked = walk_from(view, self.updates)
        principal = principal_plane(walked)
        walk_plane = None if principal is None else _walk_surface(view, principal, self.points)
        profiles = [
            *_across(plane, directions, label, self.span),
            *_along_eigenvectors(view, loss, norm(directions[0]), self.points),
        ]
        return LandscapeReading(
            update=view.update,
            samples=view.samples,
            notes=(*view.hessian.notes, *_notes(slice_lowest, lowest, principal, len(walked) - 1, self.updates)),
            loss=loss,
            directions=label,
            plane_lowest=min(plane.finite, default=math.inf),
            plane_highest=max(plane.finite, default=math.inf),
            slice_lowest=slice_lowest,
            slice_largest=slice_largest,
            lowest=lowest,
            largest=largest,
            lowest_over_largest=abs(lowest.value / largest.value) if largest.value else None,
            walk_updates=len(walked) - 1,
            walk_length=float(walked[-1].norm()),
            walk_explained=None if principal is None else sum(principal.shares),
            non_finite=_non_finite(plane, walk_plane, profiles),
            plane=plane,
            walk_plane=walk_plane,
            walked=() if principal is None else tuple((float(x), float(y)) for x, y in principal.coordinates),
            walk_shares=(0.0, 0.0) if principal is None else principal.shares,
            profiles=tuple(profiles),
        )


def _random_directions(view: View) -> tuple[tuple[Point, Point], str]:
    """Two random directions, and what they are."""
    model, generator = view.problem.model, view.generator(61)
    one, other = (filter_normalized(model, view.point, generator) for _ in range(2))
    if norm(one) > 0:
        return (one, other), "filter-normalized"
    # Units whose weights are all zero have no length of their own.
    one, other = (perturbation(model, view.point, generator) for _ in range(2))
    return (one, other), "of the size of an ordinary initialization"


def _coordinates(span: float, points: int) -> list[float]:
    """From −span to span, exactly zero in the middle."""
    half = points // 2
    return [span * (number - half) / half for number in range(points)]


def _surface(view: View, directions: tuple[Point, Point], spans: tuple[float, float], points: int) -> Surface:
    across, up = (_coordinates(span, points) for span in spans)
    return Surface(across=tuple(across), up=tuple(up), losses=_losses(view, directions, across, up))


def _losses(
    view: View, directions: tuple[Point, Point], across: Sequence[float], up: Sequence[float]
) -> tuple[tuple[float, ...], ...]:
    view.gradient_evaluations += (len(across) * len(up) + 2) * len(view.blocks) / 3
    losses = grid_losses(view.problem, view.point, directions, across, up, view.blocks, seed=view.seed)
    return tuple(tuple(row) for row in torch.where(losses.isfinite(), losses, math.inf).tolist())


def slice_curvatures(plane: Surface, directions: tuple[Point, Point]) -> tuple[float, float]:
    """Smallest and largest curvature over all directions in a plane, by second differences around its middle.

    The 2 × 2 matrix of second differences C and that of inner products of the directions G give them as the
    eigenvalues of C v = μ G v, in loss per unit², and as such they lie between the Hessian's own.
    """
    half, cells = len(plane.across) // 2, np.array(plane.losses)
    nine = cells[half - 1 : half + 2, half - 1 : half + 2]
    one, other = plane.across[half + 1], plane.up[half + 1]
    mixed = (nine[2, 2] - nine[2, 0] - nine[0, 2] + nine[0, 0]) / (4 * one * other)
    along = (nine[2, 1] - 2 * nine[1, 1] + nine[0, 1]) / one**2
    up = (nine[1, 2] - 2 * nine[1, 1] + nine[1, 0]) / other**2
    curvature = np.array([[along, mixed], [mixed, up]])
    inner = np.array([[dot(left, right) for left in directions] for right in directions])
    if not np.isfinite(curvature).all():
        return math.nan, math.nan
    if np.linalg.det(inner) <= 1e-12 * inner[0, 0] * inner[1, 1]:  # one parameter: both directions are the same
        return (float(along / inner[0, 0]),) * 2
    values = scipy.linalg.eigh(curvature, inner, eigvals_only=True)
    return float(values[0]), float(values[-1])


def walk_from(view: View, updates: int) -> list[Tensor]:
    """θ_t − θ_0 of a walk of the problem's own optimizer from here, θ_0 first, each of shape (n,).

    It ends early where the loss, or a parameter, stops being finite.
    """
    branch = view.problem.branch()
    batches = branch.data.order(view.seed)
    start = flatten(view.point)
    displacements = [torch.zeros_like(start)]
    for count in range(updates):
        run = walk(branch, 1, order=view.seed, start=view.update + count, batches=batches)
        view.gradient_evaluations += branch.accumulate
        displacement = flatten(branch.point()) - start
        if run.broke_at is not None or not bool(displacement.isfinite().all()):
            break
        displacements.append(displacement)
    return displacements


def _walk_surface(view: View, principal: PrincipalPlane, points: int) -> Surface:
    one, other = (unflatten(axis, view.point) for axis in principal.axes)
    farthest = MARGIN * principal.coordinates.abs().amax(0)
    return _surface(view, (one, other), (float(farthest[0]), float(farthest[1])), points)


def _across(plane: Surface, directions: tuple[Point, Point], label: str, span: float) -> list[Profile]:
    """The two lines through the middle of the random plane."""
    half = len(plane.across) // 2
    first, second = tuple(row[half] for row in plane.losses), plane.losses[half]
    return [
        Profile(name=f"{label} {number}", span=span * norm(direction), losses=losses)
        for number, direction, losses in zip((1, 2), directions, (first, second), strict=True)
    ]


def _along_eigenvectors(view: View, loss: float, longest: float, points: int) -> list[Profile]:
    """The lines along the eigenvectors of both ends, as long as it takes a parabola to change the loss by itself."""
    ends = view.extremes
    found = []
    for name, pairs, place in (("lowest", ends.smallest, 0), ("largest", ends.largest, -1)):
        value = pairs.values[place]
        span = min(longest, math.sqrt(2 * abs(loss / value))) if loss and value else longest
        direction = unflatten(pairs.vectors[place], view.point)
        losses = _losses(view, (direction, direction), _coordinates(span, points), (0.0,))
        found.append(Profile(name=f"{name} eigenvector", span=span, losses=tuple(row[0] for row in losses)))
    return found


def _non_finite(plane: Surface, walk_plane: Surface | None, profiles: Sequence[Profile]) -> float:
    planes = [plane] if walk_plane is None else [plane, walk_plane]
    losses = [loss for surface in planes for row in surface.losses for loss in row]
    losses += [loss for profile in profiles for loss in profile.losses]
    return sum(not math.isfinite(loss) for loss in losses) / len(losses)


def _notes(
    slice_lowest: float, lowest: Estimate, principal: PrincipalPlane | None, walked: int, updates: int
) -> list[str]:
    notes = []
    if lowest.high < 0 and slice_lowest > lowest.value / 10:
        notes.append(
            "The random plane hides negative curvature, as random planes do: its lowest curvature is "
            f"{slice_lowest:.2g}, the Hessian's lowest eigenvalue is {lowest.value:.3g}."
        )
    if walked < updates:
        notes.append(f"The walk broke after {walked} of {updates} updates.")
    if principal is None:
        notes.append("The walk went along a line, or nowhere, so there is no plane to draw it on.")
    return notes


def _contours(figure: go.Figure, surface: Surface) -> None:
    figure.add_contour(
        x=surface.across, y=surface.up, z=surface.heights, contours_coloring="heatmap", name="loss", connectgaps=False
    )


def _with_here(figure: go.Figure) -> go.Figure:
    """The figure with a mark where we stand."""
    figure.add_scatter(
        x=[0.0],
        y=[0.0],
        mode="markers",
        name="here",
        marker={"symbol": "cross", "size": 11, "color": plot.COLOURS["opposite"]},
        showlegend=False,
    )
    return figure
