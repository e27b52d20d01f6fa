"""The loss over a plane of points, with everything that is linear in the point computed once for the whole plane.

A linear layer, a convolution or an embedding whose input does not depend on the parameters gives, at θ + α d + β e,

    f(x; θ + α d + β e) = f(x; θ) + α f(x; d) + β f(x; e),

so that three products serve every point. Mostly these are the first layers, which see the data themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from unstuck.curvature.loss import Loss
from unstuck.data import Batch
from unstuck.forward import Run, pure_runs
from unstuck.problem import Mode, Problem
from unstuck.vector import Point, moved

LINEAR = {
    *(F.linear, F.embedding, F.conv1d, F.conv2d, F.conv3d),
    *(torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__),
}
"""Functions of (input, weight, ...) that are linear in what follows the input."""


@dataclass(frozen=True, kw_only=True)
class Plane:
    """The points θ + α d + β e: ``origin`` θ, ``across`` d, ``up`` e."""

    origin: Point
    across: Point
    up: Point

    def at(self, alpha: float, beta: float) -> Point:
        """θ + α d + β e; exactly θ at (0, 0)."""
        return moved(moved(self.origin, self.across, alpha), self.up, beta)


def grid_losses(
    problem: Problem,
    point: Mapping[str, Tensor],
    directions: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    alphas: Sequence[float],
    betas: Sequence[float],
    batches: Iterable[Batch],
    *,
    mode: Mode = "training",
    seed: int = 0,
) -> Tensor:
    """The loss that is followed at θ + αᵢ d + βⱼ e, the mean over the batches weighed by their terms.

    Each batch is evaluated once at a corner with and without the shortcut of this module; where the two differ by
    more than rounding, the whole grid is evaluated without it.

    Args:
        problem: of which nothing is changed.
        point: θ.
        directions: d and e, shaped as θ.
        alphas: coordinates along d.
        betas: coordinates along e; ``(0.0,)`` gives a line.
        batches: the data. Of the layers that see it, three outputs and two work spaces are held.
        mode: how the model is run.
        seed: fixes the dropout masks.

    Returns:
        Shape (alphas, betas), double precision on the CPU. What is not finite stays so. The entry at (0, 0) is
        the loss at θ, bit for bit.
    """
    across, up = directions
    plane = Plane(origin=dict(point), across=dict(across), up=dict(up))
    with _runs(problem, mode) as run, torch.no_grad():

        def over(batch: Batch) -> Tensor:
            given = problem.to_device(batch)
            return _over(plane, lambda at: run(at, given, seed)[0], alphas, betas)

        parts = list(batches)
        terms = [problem.terms(batch) for batch in parts]
        found = problem.ranks.spread(over, parts)
    losses = torch.zeros(len(alphas), len(betas), dtype=torch.float64, device="cpu")
    for term, grid in zip(terms, found, strict=True):
        losses += term / sum(terms) * grid
    return losses


def _runs(problem: Problem, mode: Mode) -> AbstractContextManager[Run]:
    """Pure runs of the problem, made ready once for all points."""
    if problem.sharded:
        return nullcontext(lambda point, batch, seed: problem.run_at(point, batch, mode=mode, seed=seed))
    return pure_runs(problem, mode=mode)


def _over(plane: Plane, loss: Loss, alphas: Sequence[float], betas: Sequence[float]) -> Tensor:
    """The loss of one batch over the grid, shape (alphas, betas)."""
    hoisted = Hoisted(plane, loss)
    corner = hoisted.row(alphas[0])(betas[0])
    if not _agree(corner, loss(plane.at(alphas[0], betas[0]))):
        hoisted.forget()
    rows = []
    for alpha in alphas:
        at = hoisted.row(alpha)
        rows.append(torch.stack([at(beta) for beta in betas]).double().cpu())
    return torch.stack(rows)


def _agree(one: Tensor, other: Tensor) -> bool:
    """Whether two losses are the same but for rounding: 6e-6 of it in single precision, 2e-12 in double."""
    tolerance = torch.finfo(one.dtype).eps ** 0.75
    return bool((one - other).abs() <= tolerance * other.abs().clamp(min=tolerance))


@dataclass(frozen=True, kw_only=True)
class _Call:
    """A linear call on data: its outputs for θ, d and e, and room for a row's and a point's."""

    origin: Tensor
    across: Tensor
    up: Tensor
    row: Tensor
    point: Tensor


class Hoisted:
    """The loss of one batch over a plane, its linear calls on data made once.

    Args:
        plane: the points.
        loss: of one batch, a function of the point.
    """

    def __init__(self, plane: Plane, loss: Loss) -> None:
        self._plane, self._loss = plane, loss
        recording = _Recording(plane)
        with recording, torch.enable_grad():
            loss(recording.leaves)
        self._calls = recording.calls

    @property
    def hoisted(self) -> int:
        """How many calls are made once."""
        return sum(call is not None for call in self._calls)

    def forget(self) -> None:
        """Evaluate plainly from now on."""
        self._calls = []

    def row(self, alpha: float) -> Callable[[float], Tensor]:
        """β → the loss at θ + α d + β e, as a scalar of its own."""
        start, up = moved(self._plane.origin, self._plane.across, alpha), self._plane.up
        for call in self._calls:
            if call is not None:
                torch.add(call.origin, call.across, alpha=alpha, out=call.row)

        def at(beta: float) -> Tensor:
            point = {name: torch.add(tensor, up[name], alpha=beta) for name, tensor in start.items()}
            with _Replaying(self._calls, beta):
                # A copy: a model may hand out the room that the next point is computed in.
                return self._loss(point).detach().clone()

        return at


class _Recording(TorchFunctionMode):
    """Sees each linear call in one pass with gradients on: an input that asks for none does not depend on θ.

    Attributes:
        leaves: θ, to be evaluated at.
        calls: of every call its outputs, None where it has to be made at each point.
    """

    def __init__(self, plane: Plane) -> None:
        super().__init__()
        # Copies: each parameter has a storage of its own, by which pieces of it are known.
        self.leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in plane.origin.items()}
        self.calls: list[_Call | None] = []
        self._names = {leaf.untyped_storage().data_ptr(): name for name, leaf in self.leaves.items()}
        self._across, self._up = (self._laid_out(direction) for direction in (plane.across, plane.up))

    def _laid_out(self, direction: Point) -> Point:
        """A direction with its entries in memory as those of θ."""
        return {name: torch.empty_like(leaf).detach().copy_(direction[name]) for name, leaf in self.leaves.items()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        output = func(*args, **named)
        if func in LINEAR:
            self.calls.append(self._call(func, args, named, output) if self._is_on_data(args, named) else None)
        return output

    def _is_on_data(self, args: Sequence[Any], named: Mapping[str, Any]) -> bool:
        weights = [given for given in (*args[1:], *named.values()) if isinstance(given, Tensor)]
        return (
            len(args) > 1
            and isinstance(args[0], Tensor)
            and not args[0].requires_grad
            and all(self._name(weight) is not None or not weight.requires_grad for weight in weights)
            and named.get("max_norm") is None  # an embedding that shortens its own weights
        )

    def _name(self, tensor: Tensor) -> str | None:
        """The parameter that a tensor is, or is a piece of."""
        return self._names.get(tensor.untyped_storage().data_ptr())

    def _call(self, func: Any, args: Sequence[Any], named: Mapping[str, Any], output: Tensor) -> _Call:
        def along(direction: Point) -> Tensor:
            def piece(given: Any) -> Any:
                if not isinstance(given, Tensor):
                    return given
                name = self._name(given)
                if name is None:
                    return torch.zeros_like(given)
                return direction[name].as_strided(given.size(), given.stride(), given.storage_offset())

            others = {name: piece(given) for name, given in named.items()}
            outputs: Tensor = func(args[0], *map(piece, args[1:]), **others)
            return outputs.detach()

        origin = output.detach().clone()  # the model may go on in place
        across, up = along(self._across), along(self._up)
        return _Call(origin=origin, across=across, up=up, row=torch.empty_like(origin), point=torch.empty_like(origin))


class _Replaying(TorchFunctionMode):
    """Gives each recorded call its output at θ + α d + β e, from the row's outputs; calls are known by their order."""

    def __init__(self, calls: Sequence[_Call | None], beta: float) -> None:
        super().__init__()
        self._calls, self._beta = iter(calls), beta

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = next(self._calls, None) if func in LINEAR else None
        if call is None:
            return func(*args, **(kwargs or {}))
        return torch.add(call.row, call.up, alpha=self._beta, out=call.point)
