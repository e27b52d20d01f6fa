"""What is found about small trainings, by one process here or by each of several: ``torchrun findings.py FOLDER``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from tests import zoo
from tests.distributed import trainings
from tests.untouched import assert_untouched
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import unstuck
from unstuck import probes
from unstuck.accuracy import accuracy
from unstuck.data import fingerprint
from unstuck.numerics.lanczos import extreme_eigenpairs
from unstuck.problem import Problem
from unstuck.ranks import ranks
from unstuck.reading import quantities
from unstuck.sharded import whole
from unstuck.view import View
from unstuck.walk import Run, walk


def several() -> bool:
    """Whether this is one of several processes."""
    return ranks().size > 1


def curvature(problem: Problem, *batches: Any) -> dict[str, Any]:
    """A product, one at each end of the spectrum, and how they were made."""
    hessian = problem.hessian_at(problem.point(), *(batches or trainings.ragged()))
    generator = torch.Generator().manual_seed(0)
    ends = extreme_eigenpairs(hessian, generator=generator, smallest=1, largest=1, max_products=40)
    return {
        "product": hessian @ trainings.vector(hessian.dimension),
        "ends": torch.tensor([*ends.smallest.values, *ends.largest.values], dtype=torch.float64),
        "rung": hessian.rung,
        "error": hessian.error,
    }


def own_batches() -> dict[str, Any]:
    """Each process gives batches of its own: the first one a part of 11 samples, the other two, of 8 and 5."""
    given = trainings.ragged()
    mine = (given[:1], given[1:])[ranks().rank] if several() else given
    return curvature(trainings.plain(), *mine)


def through_the_wrapper() -> dict[str, Any]:
    """The naive way: a product by double backward through DistributedDataParallel, on this process's own batches."""
    problem = trainings.plain()
    given = trainings.ragged()
    if several():
        inputs, targets = given[ranks().rank]
        model: nn.Module = DistributedDataParallel(problem.model)
    else:
        inputs, targets = (torch.cat(column[:2]) for column in zip(*given, strict=True))
        model = problem.model
    parameters = list(problem.model.parameters())
    loss = nn.functional.cross_entropy(model(inputs), targets)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, create_graph=True)])
    product = torch.autograd.grad(gradient @ trainings.vector(len(gradient)), parameters)
    return {"product": torch.cat([part.flatten() for part in product])}


def losses_and_gradients(problem: Problem) -> dict[str, Any]:
    """What data-side probes and the probes of gradients read."""
    view = View(problem)
    return {
        "sample": fingerprint(view.sample),
        "whole": fingerprint(problem.data.whole(chunk=7)),
        "counts": (problem.data.samples, problem.data.batch_size, problem.data.batches_per_epoch, view.exhaustive),
        "loss": view.loss,
        "loss elsewhere": view.loss_at({name: 2 * tensor for name, tensor in view.point.items()}),
        "gradient": view.gradient,
        "gradient elsewhere": view.gradient_at({name: 2 * tensor for name, tensor in view.point.items()}),
        "mean loss": problem.mean_loss(problem.data.whole(chunk=7)),
        "accuracy": accuracy(problem, problem.data.whole(chunk=7)),
    }


def walked(**fields: Any) -> dict[str, Any]:
    """A walk of nine updates, and where it ends."""
    branch = trainings.wrapped(**fields).branch()
    run: Run = walk(branch, 9, order=3, sample=branch.data.sample(24, chunk=8, seed=0), checkpoints=(0, 4, 9))
    rows = [(row.loss, row.gradient_norm, row.rate) for row in run.curve]
    return {
        "curve": torch.tensor(rows, dtype=torch.float64),
        "checkpoints": torch.tensor([loss for _, loss in run.checkpoints], dtype=torch.float64),
        "point": branch.point(),
        "buffers": dict(branch.model.named_buffers()),
    }


def broken() -> dict[str, Any]:
    """A walk that one sample breaks, which one process draws: where it ended, and whether its batch is suspected."""
    inputs, targets = trainings.whole()
    inputs[5, 1] = torch.nan
    run = walk(trainings.wrapped(train=trainings.parted(inputs, targets)).branch(), 9, order=3)
    return {"broke at": run.broke_at, "suspected": run.suspect is not None and bool(run.suspect[0].isnan().any())}


def readings(problem: Problem) -> dict[str, Any]:
    """Every number of every probe but the clock's, nothing of the caller's changed."""
    asked = tuple(probe() for probe in probes.ALL if probe is not probes.BatchTime)
    with assert_untouched(problem):
        made = unstuck.measure(problem, asked)
    return {reading.probe: {name: row[0] for name, row in quantities(reading).items()} for reading in made}


def refused(action: Callable[[], object]) -> str:
    """The message with which something is refused."""
    try:
        action()
    except unstuck.InputError as error:
        return str(error)
    return "it was not refused"


def refusals() -> dict[str, Any]:
    """What is said of trainings that the processes do not share."""
    rank = ranks().rank
    inputs, targets = trainings.whole()
    own = TensorDataset(inputs[rank::2], targets[rank::2])
    other = trainings.plain()
    with torch.no_grad():
        next(other.model.parameters()).add_(rank)
    synchronized = trainings.plain(lambda: zoo.perceptron(nn.SyncBatchNorm(5)))
    spread_out = trainings.sharded()

    def fails_on_the_second(outputs: Tensor, targets: Tensor) -> Tensor:
        if rank == 1:
            raise unstuck.InputError("no loss here")
        return nn.functional.cross_entropy(outputs, targets)

    return {
        "data": refused(lambda: unstuck.measure(trainings.plain(train=DataLoader(own, 3)), probes.Gradient())),
        "parameters": refused(lambda: unstuck.measure(other, probes.Gradient())),
        "synchronized": refused(lambda: unstuck.measure(synchronized, probes.Gradient())),
        "jobs": refused(lambda: unstuck.diagnose(trainings.plain(), jobs=2, target="a.py:b")),
        "one fails": refused(lambda: walk(trainings.plain(loss=fails_on_the_second).branch(), 1)),
        "sharded": refused(lambda: unstuck.diagnose(spread_out)),
        "sharded step": refused(lambda: unstuck.measure(spread_out, probes.Step())),
    }


def of_sharded() -> dict[str, Any]:
    """Curvature and readings of a sharded model, nothing of the caller's changed."""
    problem = trainings.sharded(lambda: nn.Sequential(nn.Linear(4, 2), nn.Tanh(), nn.Linear(2, 3)))
    with assert_untouched(problem):
        found = curvature(problem)
        read = unstuck.measure(problem, (probes.Spectrum(), probes.Gradient()))
    return {**found, **{reading.probe: {name: row[0] for name, row in quantities(reading).items()} for reading in read}}


def after_sharded() -> dict[str, Any]:
    """A sharded model with buffers and gradients is looked at, once in vain; then it trains on as if untouched."""
    problem = trainings.sharded(lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)))
    batch = trainings.ragged()[0]
    loss = nn.functional.cross_entropy(problem.model(batch[0]), batch[1])
    loss.backward()

    def raising(outputs: Tensor, targets: Tensor) -> Tensor:
        raise unstuck.InputError("no loss here")

    failing = dataclasses.replace(problem, loss=raising)
    with assert_untouched(problem), assert_untouched(failing):
        problem.gradient_at({name: 2 * tensor for name, tensor in problem.point().items()}, batch)
        said = refused(lambda: failing.loss_at(failing.point(), batch))
    nn.functional.cross_entropy(problem.model(batch[0]), batch[1]).backward()
    return {"said": said, "gradient": [whole(cast(Tensor, p.grad)) for p in problem.model.parameters()]}


FINDINGS: dict[str, Callable[[], dict[str, Any]]] = {
    "sharded": of_sharded,
    "after sharded": after_sharded,
    "curvature": lambda: curvature(trainings.plain()),
    "curvature of the wrapped": lambda: curvature(trainings.wrapped()),
    "curvature of one batch": lambda: curvature(trainings.wrapped(), trainings.ragged()[0]),
    "curvature of own batches": own_batches,
    "through the wrapper": through_the_wrapper,
    "losses and gradients": lambda: losses_and_gradients(trainings.wrapped()),
    "losses of one loader": lambda: losses_and_gradients(trainings.wrapped(train=zoo.loaders()["shuffled"])),
    "losses of a ragged sampler": lambda: losses_and_gradients(
        trainings.wrapped(train=trainings.parted(*(column[:23] for column in trainings.whole())))
    ),
    "walk": walked,
    "walk with schedule": lambda: walked(accumulate=2, clip_norm=0.1, **zoo.SCHEDULES["per update"]),
    "walk of one loader": lambda: walked(train=zoo.loaders()["shuffled"]),
    "walk with buffers": lambda: walked(model=lambda: zoo.perceptron(nn.BatchNorm1d(5))),
    "walk by weight": lambda: walked(
        loss=nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 9.0], dtype=torch.float64)),
        weight=lambda batch: float(torch.tensor([1.0, 2.0, 9.0])[batch[1]].sum()),
    ),
    "walk of L-BFGS": lambda: walked(optimizer=zoo.OPTIMIZERS["lbfgs"]),
    "broken walk": broken,
    "readings": lambda: readings(trainings.wrapped()),
    "refusals": refusals,
}


def main(folder: Path) -> None:
    """Find all, and leave it in a file."""
    dist.init_process_group("gloo")
    torch.save({name: find() for name, find in FINDINGS.items()}, folder / f"{dist.get_rank()}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
