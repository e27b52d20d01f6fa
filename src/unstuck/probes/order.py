"""Order: is a batch a sample of the data? What the batches of an epoch hold, as they come, against chance.

Gradient descent on batches rests on each being a random sample (Bottou 2010, "Large-scale machine learning with
stochastic gradient descent", section 2). Sorted data make every update one class's, and batch normalization's
statistics one class's too. Samples are told apart by their class, or by whether their target is above the median; and
by whether random projections of their inputs are. Batches that are more alike than chance makes them are no fault: a
sampler has balanced them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray
from torch import Tensor

from unstuck import plot
from unstuck.budget import Budget
from unstuck.data import Batch, Data, fingerprint, samples_at, samples_in, tensors_of
from unstuck.errors import InputError
from unstuck.forward import split
from unstuck.numerics.mixing import Cut, mixing, repeats
from unstuck.numerics.statistics import holm
from unstuck.ranks import ranks
from unstuck.reading import Reading, quantity
from unstuck.untouched import derived_seed, seeded
from unstuck.view import View

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

SAMPLES, BATCHES = 4_096, 256
"""An epoch of so many samples and batches is read whole; of longer ones, stretches in several places."""

STRETCHES = 8
"""Places in a long epoch, evenly spaced, from which batches are read."""

FEWEST = 8
"""Samples of what is compared: smaller batches are put together with the next ones."""

PROJECTIONS = 4
"""Random projections of the inputs."""

CLASSES = 50
"""Kinds that are told apart, at most: of more classes, every fiftieth goes together."""

REPEATED = 0.1
"""Share of samples that come again in an epoch from which on it is said; a few doubles are in many data sets."""

SIGNIFICANT = 0.01
"""Probability, corrected for being several, at which chance is ruled out: of shuffled data, it is in 1 of 100 cases."""

MATERIAL = 2.0
"""How many times as much as by chance batches have to differ before it matters: the means of their samples then vary as
those of random batches of half their size."""


@dataclass(frozen=True, kw_only=True)
class OrderReading(Reading):
    """The batches of an epoch in the order they are trained on."""

    probe: ClassVar[str] = "order"
    title: ClassVar[str] = "What each batch holds, as they come"
    chapter: ClassVar[int] = 0

    epoch: int = quantity("batches", "in an epoch")
    batches: int = quantity("batches", "that were compared; several small ones count as one")
    varies: bool | None = quantity("", "whether another epoch comes in another order; unknown where it was recorded")
    kinds: str = quantity("", "what tells targets apart: classes, or above and below the median; or there are none")
    target_share: float | None = quantity("", "of the variance of the targets' kinds, that between batches")
    input_share: float | None = quantity("", "the same of the inputs' halves, the mean over random projections")
    expected_share: float = quantity("", "the same where batches are filled at random; balanced ones have less")
    target_p: float | None = quantity("", "probability, at random, of as large a share for the targets")
    input_p: float | None = quantity("", "the same for the inputs")
    target_memory: float | None = quantity("", "correlation of the targets' kinds in batches that follow each other")
    input_memory: float | None = quantity("", "the same of the inputs' halves")
    target_memory_p: float | None = quantity("", "probability, of these batches in a random order, of as large a one")
    input_memory_p: float | None = quantity("", "the same for the inputs")
    repeated: float = quantity("", "share of the samples that equal one read before")
    repeated_together: float = quantity("", "share that equal another one of their own batch")
    expected_together: float = quantity("", "the same where batches are filled at random")
    repeated_p: float = quantity("", "probability, at random, of as many")
    shown: str = ""
    names: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    shares: tuple[tuple[float, ...], ...] = ()
    """What the picture shows: the share of each kind (row) in each batch (column)."""

    @property
    def excess(self) -> float:
        """How many times as much as by chance the batches differ, in targets or inputs, whichever is more."""
        return max(self._times(self.target_share), self._times(self.input_share))

    @property
    def sampled(self) -> bool:
        """Whether batches may well be random samples: none differs from chance by much and beyond doubt."""
        tests = (
            (self.target_p, self._times(self.target_share)),
            (self.input_p, self._times(self.input_share)),
            (self.repeated_p, self.repeated_together / max(self.expected_together, 1e-3)),
        )
        corrected = holm([1.0 if p is None else p for p, _ in tests])
        return not any(p <= SIGNIFICANT and t >= MATERIAL for p, (_, t) in zip(corrected, tests, strict=True))

    def draw(self) -> go.Figure | None:
        """The share of each kind in each batch."""
        if not self.shares:
            return None
        figure = plot.figure(
            title=self.title,
            x="what is compared, in the order of training",
            y=self.shown,
            summary=f"Batches differ {self.excess:.2g} times as much as random ones would: {self.batches} compared, in "
            f"an epoch of {self.epoch}.",
        )
        figure.add_heatmap(
            z=self.shares,
            x=list(range(len(self.places))),
            y=list(self.names),
            customdata=[list(self.places)] * len(self.names),
            zmin=0,
            zmax=1,
            colorbar={"title": "share of<br>the batch"},
            hovertemplate="batch %{customdata}: %{z:.0%} of %{y}<extra></extra>",
        )
        figure.update_yaxes(type="category")
        return figure

    def _times(self, share: float | None) -> float:
        """How many times the share that chance makes."""
        return 1.0 if share is None or self.expected_share == 0.0 else share / self.expected_share


@dataclass(frozen=True, kw_only=True)
class Order:
    """Reads batches as they are trained on; no gradient is evaluated."""

    reads: ClassVar[type[Reading]] = OrderReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = True

    def measure(self, view: View, budget: Budget) -> OrderReading:
        data, stretches = view.problem.data, _stretches(view.problem.data)
        seen, cut, places = _compared(_read(view, stretches), stretches, -(-FEWEST // data.batch_size))
        classes = _classes(seen)
        kinds = classes.numbers if classes else None if seen.targets is None else _quantiles(seen.targets, 2)
        inputs = [] if seen.inputs is None else [_quantiles(column, 2) for column in seen.inputs.T]
        generator = np.random.default_rng(derived_seed(view.seed, 95))
        of_targets = None if kinds is None else mixing([kinds], cut, generator)
        of_inputs = mixing(inputs, cut, generator)
        again = repeats(seen.identities, cut, generator)
        shown = classes or _tenths(seen)
        return OrderReading(
            update=view.update,
            samples=len(cut.batches),
            notes=_notes(seen, len(places), again.share),
            epoch=data.batches_per_epoch,
            batches=len(places),
            varies=data.order_varies if data.indexed else None,
            kinds="classes" if classes else "none" if kinds is None else "halves",
            target_share=None if of_targets is None else of_targets.share,
            input_share=None if of_inputs is None else of_inputs.share,
            expected_share=(len(places) - 1) / max(1, len(cut.batches) - 1),
            target_p=None if of_targets is None else of_targets.share_p,
            input_p=None if of_inputs is None else of_inputs.share_p,
            target_memory=None if of_targets is None else of_targets.memory,
            input_memory=None if of_inputs is None else of_inputs.memory,
            target_memory_p=None if of_targets is None else of_targets.memory_p,
            input_memory_p=None if of_inputs is None else of_inputs.memory_p,
            repeated=again.share,
            repeated_together=again.together,
            expected_together=again.expected,
            repeated_p=again.p_value,
            shown=shown.told_by if shown else "",
            names=shown.names if shown else (),
            places=places,
            shares=_shares(shown.numbers, cut) if shown else (),
        )


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is kept of n samples.

    Attributes:
        identities: a checksum of each, shape (n,).
        targets: each one's target as a number, shape (n,); None where they have none.
        classes: whether these are class numbers.
        inputs: projections of each one's input, shape (n, p); None where there are none.
    """

    identities: Integers
    targets: Floats | None
    classes: bool
    inputs: Floats | None


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """The kind of each sample, from 0, shape (n,); what tells them apart, and their names."""

    told_by: str
    numbers: Integers
    names: tuple[str, ...]


def _stretches(data: Data) -> list[tuple[int, int]]:
    """Where in an epoch batches are read, and how many: all of a short one, else some in several places."""
    epoch, size = data.batches_per_epoch, data.batch_size
    places = max(3, min(STRETCHES, SAMPLES // size))
    count = max(2 * -(-FEWEST // size), min(SAMPLES // (places * size), BATCHES // places))
    if epoch <= places * count or (epoch <= BATCHES and epoch * size <= SAMPLES):
        return [(0, epoch)]
    return [(round(place * (epoch - count) / (places - 1)), count) for place in range(places)]


def _read(view: View, stretches: Sequence[tuple[int, int]]) -> list[Seen]:
    """What is kept of every batch, put together from the processes that share it out."""
    data, processes = view.problem.data, ranks(view.problem.device)
    of_inputs = Projected(view.generator(91), PROJECTIONS)
    of_targets = Projected(view.generator(92), 1)
    with processes.together(), seeded(derived_seed(view.seed, 94)):
        mine = [
            _seen(batch, of_inputs, of_targets)
            for start, count in stretches
            for batch in islice(data.order(view.seed, skip=start), count)
        ]
    if len(mine[0].identities) == data.batch_size:
        return mine
    return [_joined(parts) for parts in zip(*processes.gathered(mine), strict=True)]


class Projected:
    """Random projections of samples that are shaped alike, drawn for the first.

    Args:
        generator: draws them.
        count: how many.
    """

    def __init__(self, generator: torch.Generator, count: int) -> None:
        self._generator, self._count = generator, count
        self._matrix: Tensor | None = None

    def __call__(self, samples: Tensor) -> Floats | None:
        """The projections, shape (n, count); None where the samples are of another size."""
        rows = samples.reshape(len(samples), -1).double().cpu().nan_to_num()
        if self._matrix is None:
            shape = (rows.shape[1], self._count)
            self._matrix = torch.randn(shape, generator=self._generator, dtype=torch.float64, device="cpu")
        if len(self._matrix) != rows.shape[1]:
            return None
        projected: Floats = (rows @ self._matrix).numpy()
        return projected


def _seen(batch: Batch, of_inputs: Projected, of_targets: Projected) -> Seen:
    count = samples_in(batch)
    alone = (samples_at(batch, slice(place, place + 1)) for place in range(count))
    try:
        inputs, targets = split(batch)
    except InputError:  # of a problem that computes its loss in `step`
        inputs, targets = batch, None
    found = [tensor for tensor in tensors_of(inputs) if tensor.dim() > 0 and len(tensor) == count]
    wanted = [tensor for tensor in tensors_of(targets) if tensor.dim() > 0 and len(tensor) == count]
    single = bool(wanted) and wanted[0].numel() == count
    values = wanted[0].reshape(count, 1).double().cpu().numpy() if single else of_targets(wanted[0]) if wanted else None
    return Seen(
        identities=np.array([fingerprint([one]) for one in alone], dtype=np.int64),
        targets=None if values is None else values[:, 0],
        classes=single and not wanted[0].is_floating_point(),
        inputs=of_inputs(found[0]) if found else None,
    )


def _joined(parts: Sequence[Seen]) -> Seen:
    """The samples of several; what one of them lacks, all do."""
    targets = [part.targets for part in parts if part.targets is not None]
    inputs = [part.inputs for part in parts if part.inputs is not None]
    return Seen(
        identities=np.concatenate([part.identities for part in parts]),
        targets=np.concatenate(targets) if len(targets) == len(parts) else None,
        classes=all(part.classes for part in parts),
        inputs=np.concatenate(inputs) if len(inputs) == len(parts) else None,
    )


def _sorted(seen: Seen) -> Seen:
    """The same samples in an order that does not depend on which process had them."""
    order = np.argsort(seen.identities, kind="stable")
    return Seen(
        identities=seen.identities[order],
        targets=None if seen.targets is None else seen.targets[order],
        classes=seen.classes,
        inputs=None if seen.inputs is None else seen.inputs[order],
    )


def _compared(
    batches: Sequence[Seen], stretches: Sequence[tuple[int, int]], together: int
) -> tuple[Seen, Cut, tuple[int, ...]]:
    """All samples, cut into what is compared: batches, or several small ones; and the first batch of each."""
    units: list[Seen] = []
    places: list[int] = []
    neighbours: list[tuple[int, int]] = []
    left = iter(batches)
    for start, count in stretches:
        for first in range(0, count, together):
            if first > 0:
                neighbours.append((len(units) - 1, len(units)))
            units.append(_sorted(_joined(list(islice(left, min(together, count - first))))))
            places.append(start + first)
    sizes = [len(unit.identities) for unit in units]
    pairs = np.array(neighbours, dtype=np.int64).reshape(-1, 2)
    return _joined(units), Cut(batches=np.repeat(np.arange(len(units)), sizes), neighbours=pairs), tuple(places)


def _classes(seen: Seen) -> Kinds | None:
    """Classes where the targets are class numbers, or take few values; of which most samples share theirs."""
    if seen.targets is None:
        return None
    values, numbers = np.unique(seen.targets, return_inverse=True)
    if len(values) > len(numbers) / 4 or not (seen.classes or len(values) <= CLASSES):
        return None
    names = tuple(f"{value:g}" for value in values)
    if len(values) > CLASSES:
        names = tuple(f"{names[kind]}, {names[kind + CLASSES]} …" for kind in range(CLASSES))
    return Kinds(told_by="class", numbers=numbers % CLASSES, names=names)


def _tenths(seen: Seen) -> Kinds | None:
    """The tenth of all targets that each falls in, or else of a projection of the inputs."""
    values = seen.targets if seen.targets is not None else None if seen.inputs is None else seen.inputs[:, 0]
    if values is None:
        return None
    what = "targets" if seen.targets is not None else "inputs, in a random direction"
    names = tuple(f"{10 * tenth}–{10 * tenth + 10} %" for tenth in range(10))
    return Kinds(told_by=f"tenths of the {what}", numbers=_quantiles(values, 10), names=names)


def _quantiles(values: Floats, parts: int) -> Integers:
    """Into which of equal parts of all values each falls, from 0."""
    edges = np.quantile(values, np.arange(1, parts) / parts)
    return np.searchsorted(edges, values, side="right")


def _shares(kinds: Integers, cut: Cut) -> tuple[tuple[float, ...], ...]:
    """The share of each kind in each batch, shape (kinds, batches)."""
    (counts,) = cut.counts(kinds[None])
    return tuple(tuple(row) for row in (counts / cut.sizes[:, None]).T.tolist())


def _notes(seen: Seen, compared: int, repeated: float) -> tuple[str, ...]:
    notes = []
    if repeated >= REPEATED:
        notes.append(
            f"of the samples read, {repeated:.0%} had been read before in the same epoch: they are drawn with "
            "replacement, or the data hold them several times"
        )
    if compared < 2:
        notes.append("an epoch is one batch, so that there is no order")
    if seen.targets is None:
        notes.append("batches have no targets of equal size, so that they are compared by their inputs alone")
    if seen.inputs is None:
        notes.append("inputs are no tensors of equal size, so that batches are compared by their targets alone")
    return tuple(notes)
