"""What the arms of a trial are compared by: numbers that a cure brings down, of a branch on a fixed sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from unstuck.data import Batch
from unstuck.errors import InputError
from unstuck.problem import Problem

MeasureName = Literal["train_loss", "valid_loss", "eval_gap"]


class Measure(Protocol):
    """A number of a branch where it stands; the branch is not changed."""

    def __call__(self, branch: Problem, sample: Sequence[Batch], /) -> float: ...


def train_loss(branch: Problem, sample: Sequence[Batch], /) -> float:
    """The own loss, normalized by the statistics of each batch, without dropout."""
    return branch.mean_loss(sample)


def valid_loss(branch: Problem, sample: Sequence[Batch], /) -> float:
    """The own loss in eval mode, as held-out data are judged."""
    return branch.mean_loss(sample, mode="evaluation")


def eval_gap(branch: Problem, sample: Sequence[Batch], /) -> float:
    """By how much the own loss is higher in eval mode than with the statistics of each batch."""
    return branch.mean_loss(sample, mode="evaluation") - branch.mean_loss(sample)


MEASURES: Mapping[MeasureName, Measure] = {
    "train_loss": train_loss,
    "valid_loss": valid_loss,
    "eval_gap": eval_gap,
}


def sample_for(problem: Problem, name: MeasureName, *, count: int, chunk: int, seed: int) -> tuple[Batch, ...]:
    """The fixed sample: of held-out data where these are asked for, else of the training data.

    Raises:
        InputError: held-out data are asked for, and there are none.
    """
    if name != "valid_loss":
        return problem.data.sample(count, chunk=chunk, seed=seed)
    if problem.valid_data is None:
        raise InputError("`valid` is missing: without held-out data there is no held-out loss; give a second loader")
    return problem.valid_data.sample(count, chunk=chunk, seed=seed)
