"""What the units behind every activation of a model do over a sample: which are off, which saturate, which are alike.

An activation is asked itself what its bounds are and how steep it is, so that modules and functions, with any settings,
are read in the same way; what has no bound on a side (ReLU above zero, leaky ReLU) never saturates there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unstuck.data import Batch, samples_in, tensors_of
from unstuck.forward import pure_runs
from unstuck.passes.layer_flow import ACTIVATIONS
from unstuck.problem import Problem
from unstuck.vector import Point

FLAT = 0.02
"""Of its steepest slope: up to it an activation is off or saturated. That of tanh is so little beyond ±0.99."""

FAR, FARTHER, NEAR = 1e2, 1e4, 0.05
"""Arguments between which an activation that is bounded on that side changes by no more than NEAR; what is flat and
that near to a bound is at it. (Flat alone would not do: GELU and its kin have a lowest point.)"""

STEEP, ZERO = 8.0, 1e-6
"""Arguments up to which, on either side, the steepest slope is looked for; and what a bound at φ(0) may be off it."""

UNITS, ROWS = 256, 256
"""Units of a layer that are compared with each other, at most, and rows of a batch on which they are, about."""

ALIKE = 1e-5
"""Of the size of two units: the distance up to which they count as one. Rounding leaves less, training more."""

ROUNDING = 8.0
"""Units in the last place by which units deviate, however constant they are."""

CHANNELS_FIRST = ("conv", "batch_norm", "group_norm", "instance_norm", "pool")
FEATURES_LAST = ("linear", "layer_norm", "rms_norm", "matmul", "addmm", "bmm")
"""Parts of the names of functions that tell along which axis their outputs count units."""

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Where an activation φ, a function of numbers, stops changing.

    Attributes:
        steepest: the largest |φ'|.
        low: the bound for x → −∞; None where there is none.
        high: that for x → ∞.
        rectifies: whether φ(0) is the lower bound: being there is being off, and no saturation.
    """

    steepest: float
    low: float | None
    high: float | None
    rectifies: bool

    @property
    def both(self) -> bool:
        """Whether there are two."""
        return self.low is not None and self.high is not None


class Moments:
    """Sums of rows and of their products.

    Args:
        origin: from where rows are taken, shape (units,).
    """

    def __init__(self, origin: Tensor) -> None:
        self.origin = origin
        self.count = 0
        self.sums = torch.zeros_like(origin)
        self.products = torch.zeros_like(origin).outer(origin)

    def add(self, rows: Tensor) -> None:
        """Add rows, shape (rows, units)."""
        self.count += len(rows)
        self.sums += (rows - self.origin).sum(0)
        self.products += (rows - self.origin).T @ (rows - self.origin)

    @property
    def mean(self) -> Tensor:
        """The mean of the rows."""
        return self.origin + self.sums / self.count

    @property
    def covariance(self) -> Tensor:
        """That of the columns, C, shape (units, units)."""
        means = self.sums / self.count
        return self.products / self.count - means.outer(means)


class Activity:
    """What the units behind one activation did in some passes.

    Args:
        bounds: the activation's own.
        axis: along which its outputs count units.
        outputs: some of what it gave.

    Attributes:
        each: how many numbers each unit gave.
        low: how many of them were at the lower bound, shape (units,).
        high: at the upper one.
    """

    def __init__(self, bounds: Bounds, axis: int, outputs: Tensor) -> None:
        self.bounds, self.axis = bounds, axis
        self.resolution = ROUNDING * torch.finfo(outputs.dtype).eps
        self.each = 0
        self.low = torch.zeros(outputs.shape[axis], dtype=torch.int64, device=outputs.device)
        self.high = torch.zeros_like(self.low)
        rows = _some(outputs, axis)
        self.before = Moments(torch.zeros_like(rows[0]))
        self.after = Moments(rows.mean(0))  # near the mean, so that little is lost where units hardly vary

    def add(self, inputs: Tensor, outputs: Tensor, slopes: Tensor) -> None:
        """Count what it made of ``inputs``."""
        flat = slopes.abs() <= FLAT * self.bounds.steepest
        others = [axis for axis in range(flat.dim()) if axis != self.axis % flat.dim()]
        for end, count in ((self.bounds.low, self.low), (self.bounds.high, self.high)):
            if end is not None:
                count += (flat & ((outputs - end).abs() <= NEAR)).sum(others)
        self.each += inputs.numel() // self.units
        self.before.add(_some(inputs, self.axis))
        self.after.add(_some(outputs, self.axis))

    @property
    def units(self) -> int:
        """How many there are."""
        return len(self.low)

    @property
    def entries(self) -> int:
        """How many numbers they gave."""
        return self.each * self.units

    @property
    def dead(self) -> int:
        """How many of them were off or saturated for every sample and place."""
        return int((self.low + self.high == self.each).sum())

    @property
    def off(self) -> float | None:
        """The share of the numbers at which a rectifier was off; None for other activations."""
        return int(self.low.sum()) / self.entries if self.bounds.rectifies else None

    @property
    def saturated(self) -> float | None:
        """The share of the numbers at one of its bounds; None where it has not two."""
        if not self.bounds.both:
            return None
        counts = self.high if self.bounds.rectifies else self.low + self.high
        return int(counts.sum()) / self.entries

    @property
    def twins(self) -> float:
        """The share of the units that get the same as another one for every sample: they compute, and learn, the same.

        Units are compared before the activation, after which all that are off would be alike.
        """
        products = self.before.products
        squares = products.diagonal()
        sizes = squares[:, None] + squares[None, :]
        alike = sizes - 2 * products <= ALIKE**2 * sizes
        return float((alike.sum(1) > 1).double().mean())

    @property
    def rank(self) -> float:
        """(tr C)² / tr C² of the outputs' covariance C: along how many directions the representation varies.

        It is the participation ratio of C's eigenvalues, at most the number of units; 0 where nothing varies.
        """
        covariance = self.after.covariance
        total = float(covariance.trace())
        if total <= self.resolution**2 * (total + float(self.after.mean.square().sum())):
            return 0.0
        return total**2 / float(covariance.square().sum())


def activities_of(problem: Problem, point: Point, batches: Sequence[Batch], *, seed: int) -> dict[str, Activity]:
    """Every hidden activation at ``point``, in the order of the forward pass, over all batches.

    Without dropout and by the batch's own statistics in batch normalization. A sigmoid that gives the model's outputs
    is left out: a confident classifier saturates there, and is well. What happens behind torch's back (inside its
    recurrent layers, scripted modules, autograd functions) is not seen.
    """
    watcher = _Watcher()
    for batch in batches:
        with torch.no_grad(), pure_runs(problem, mode="measuring") as run, watcher.over(problem.model, batch):
            run(point, batch, seed)
    return watcher.found


class _Watcher(TorchFunctionMode):
    """Looks at every activation function that a model calls."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Activity] = {}
        self._inside: list[str] = []
        self._calls: Counter[str] = Counter()
        self._axes: dict[torch.Size, int] = {}
        self._samples = 1
        self._last: tuple[str, Tensor] | None = None

    @contextmanager
    def over(self, model: nn.Module, batch: Batch) -> Iterator[None]:
        """Watch one pass over a batch."""
        self._samples = samples_in(batch)
        self._calls.clear()
        with ExitStack() as stack:
            for name, module in model.named_modules():
                stack.callback(module.register_forward_pre_hook(partial(self._entered, name)).remove)
                stack.callback(module.register_forward_hook(self._left).remove)
            stack.enter_context(self)
            yield
        self._inside.clear()

    def _entered(self, name: str, module: nn.Module, inputs: Any) -> None:
        self._inside.append(name)

    def _left(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self._inside.pop()
        if not self._inside and self._last is not None:
            name, last = self._last
            memory = {tensor.untyped_storage().data_ptr() for tensor in tensors_of(outputs)}
            if self.found[name].bounds.both and last.untyped_storage().data_ptr() in memory:
                del self.found[name]
            self._last = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        function = getattr(func, "__name__", "").strip("_")
        if not self._inside or function not in ACTIVATIONS or "out" in named:
            given = func(*args, **named)
            self._note_axis(function, given)
            return given
        inputs, *others = args or (named.pop("input"),)
        name = None
        if self._made_of_samples(inputs):
            name = self._observe(function, lambda x: func(x, *others, **named), inputs)
        given = func(inputs, *others, **named)
        if name is not None:
            self._last = (name, given)
        return given

    def _note_axis(self, function: str, given: Any) -> None:
        if isinstance(given, Tensor):
            if any(part in function for part in CHANNELS_FIRST):
                self._axes[given.shape] = 1
            elif any(part in function for part in FEATURES_LAST):
                self._axes[given.shape] = -1

    def _made_of_samples(self, inputs: Any) -> bool:
        """Whether a tensor has an axis along which samples lie: what is made of weights alone has none."""
        return (
            isinstance(inputs, Tensor)
            and inputs.is_floating_point()
            and inputs.dim() > 0
            and any(length > 0 and length % self._samples == 0 for length in inputs.shape[:2])
        )

    def _observe(self, function: str, activation: Function, inputs: Tensor) -> str | None:
        """Add one call to what is known of its place; None where it is not applied number by number."""
        inputs = inputs.detach()
        outputs, slopes = _sloped(activation, inputs)
        if outputs.shape != inputs.shape:
            return None
        axis = self._axes.get(inputs.shape, 1 if inputs.dim() > 3 else -1)
        if inputs.dim() == 1:  # the samples of one unit
            axis, (inputs, outputs, slopes) = 1, (tensor[:, None] for tensor in (inputs, outputs, slopes))
        name = " ".join(filter(None, (self._inside[-1], function)))
        self._calls[name] += 1
        if self._calls[name] > 1:
            name = f"{name} ({self._calls[name]})"
        if name not in self.found:
            self.found[name] = Activity(_bounds_of(activation, inputs), axis, outputs)
        if self.found[name].units == outputs.shape[axis]:  # else the axis has another length from batch to batch
            self.found[name].add(inputs, outputs, slopes)
        return name


def _sloped(activation: Function, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """φ(x) and φ'(x), entry by entry."""
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        outputs = activation(leaf.clone())  # it may work in place
        (slopes,) = torch.autograd.grad(outputs.sum(), leaf)
    return outputs.detach(), slopes


def _bounds_of(activation: Function, like: Tensor) -> Bounds:
    """Found by asking it far out and around zero; in columns where it has settings for each channel."""
    ends = torch.tensor([-FARTHER, -FAR, 0.0, FAR, FARTHER], device=like.device)
    grid = torch.cat([ends, torch.linspace(-STEEP, STEEP, 257, device=like.device)]).to(like.dtype)
    values, slopes = _sloped(activation, grid[:, None].expand(-1, like.shape[1]))
    lowest, low, middle, high, highest = values[:5].double()

    def bound(farther: Tensor, far: Tensor) -> float | None:
        return float(farther.mean()) if bool(((farther - far).abs() <= NEAR).all()) else None

    found = bound(lowest, low)
    return Bounds(
        steepest=float(slopes.abs().max()),
        low=found,
        high=bound(highest, high),
        rectifies=found is not None and bool(((middle - found).abs() <= ZERO).all()),
    )


def _some(tensor: Tensor, axis: int) -> Tensor:
    """Some rows, of all samples, and some units, evenly spaced and in double precision; shape (rows, units)."""
    units = -(-tensor.shape[axis] // UNITS)
    stride = max(1, tensor.numel() // tensor.shape[axis] // ROWS) | 1  # odd: even ones meet few columns of an image
    if axis == 1 and tensor.dim() > 2:
        return tensor.flatten(2)[:, ::units, ::stride].movedim(1, -1).flatten(0, -2).double()
    return tensor.flatten(0, -2)[::stride, ::units].double()
