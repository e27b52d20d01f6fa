"""A view: one problem at one snapshot, with a fixed sample, computing what probes share once."""

from __future__ import annotations

from functools import cached_property, partial

import torch
from torch import Tensor

from unstuck.curvature.double import Curvature, curvature_along
from unstuck.curvature.hessian import Hessian
from unstuck.curvature.loss import gradient_of
from unstuck.curvature.whole import whole_hessian
from unstuck.data import Batch, samples_in
from unstuck.numerics.eigensystem import Eigensystem, eigensystem
from unstuck.numerics.krylov import SymmetricOperator
from unstuck.numerics.lanczos import Extremes, extreme_eigenpairs
from unstuck.problem import Problem
from unstuck.snapshot import Snapshot
from unstuck.untouched import derived_seed
from unstuck.vector import Point, weighted_mean, widened

SAMPLE = 512
"""Samples on which a view measures, where the data has as many."""

PARTS = 8
"""Batches into which it is cut at least: how they differ is what tells the noise."""

BLOCK = 256
"""Samples per pass for models whose result does not depend on how samples are grouped."""

SMALL = 2000
"""Parameters up to which curvature is computed in double precision."""

WHOLE = 2000
"""Hessian-vector products on one block each, up to which the whole Hessian is built: one product per parameter."""

ENDS = 3
"""Eigenpairs wanted at each end of a spectrum."""

PRODUCTS = 64
"""Hessian-vector products per spectrum, at most."""


class View:
    """One problem at one snapshot.

    Args:
        branch: a branch standing at the snapshot; a view never changes it.
        update: the snapshot's update.
        seed: fixes the sample, the dropout masks and every random direction.
        suspect: a batch that broke the walk, to be looked at beside the sample.
        tune: choose the way to make Hessian-vector products by the clock.

    Attributes:
        gradient_evaluations: what has been spent here, in gradients of one batch.
    """

    def __init__(
        self, branch: Problem, *, update: int = 0, seed: int = 0, suspect: Batch | None = None, tune: bool = False
    ) -> None:
        self.problem = branch
        self.update = update
        self.seed = seed
        self.suspect = suspect
        self.tune = tune
        self.gradient_evaluations = 0.0

    def generator(self, purpose: int) -> torch.Generator:
        """A generator of this view's own, the same for the same purpose."""
        return torch.Generator().manual_seed(derived_seed(self.seed, self.update, purpose))

    @cached_property
    def point(self) -> Point:
        """θ."""
        return self.problem.point()

    @cached_property
    def sample(self) -> tuple[Batch, ...]:
        """A fixed random sample in batches of the size that is trained on, or smaller."""
        size = min(max(self.problem.data.batch_size, 16), SAMPLE // PARTS)
        return self.problem.data.sample(SAMPLE, chunk=size, seed=self.seed)

    @cached_property
    def blocks(self) -> tuple[Batch, ...]:
        """The same samples in large blocks, unless grouping matters (batch normalization)."""
        if any(hasattr(module, "running_mean") for module in self.problem.model.modules()):
            return self.sample
        return self.problem.data.sample(SAMPLE, chunk=BLOCK, seed=self.seed)

    @cached_property
    def samples(self) -> int:
        """How many samples the sample holds."""
        return sum(samples_in(batch) for batch in self.sample)

    @cached_property
    def exhaustive(self) -> bool:
        """Whether the sample is all there is, so that nothing is left to sampling error."""
        return self.samples >= self.problem.data.samples

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """The weight of each batch of the sample, summing to one."""
        terms = [self.problem.terms(batch) for batch in self.sample]
        return tuple(term / sum(terms) for term in terms)

    @cached_property
    def gradients(self) -> tuple[tuple[float, Point], ...]:
        """Loss and gradient of each batch of the sample, on the surface that is walked."""
        self.gradient_evaluations += len(self.sample)
        losses = [partial(self.problem.loss_at, batch=batch, seed=self.seed) for batch in self.sample]
        return tuple(self.problem.ranks.spread(lambda loss: gradient_of(loss, self.point), losses))

    @cached_property
    def loss(self) -> float:
        """The loss that is followed, over the sample."""
        return sum(share * loss for share, (loss, _) in zip(self.shares, self.gradients, strict=True))

    @cached_property
    def gradient(self) -> Point:
        """The gradient over the sample."""
        pairs = list(zip(self.shares, self.gradients, strict=True))
        return {
            name: torch.stack([share * gradient[name] for share, (_, gradient) in pairs]).sum(0) for name in self.point
        }

    @cached_property
    def hessian(self) -> Hessian:
        """The Hessian over the sample."""
        self.gradient_evaluations += 2 * len(self.blocks)
        return self.problem.hessian_at(self.point, *self.blocks, seed=self.seed, tune=self.tune)

    @cached_property
    def precise(self) -> bool:
        """Whether the model computes in double precision when it is given that."""
        point = {name: widened(tensor) for name, tensor in self.point.items()}
        try:
            with torch.no_grad():
                loss = self.problem.loss_at(point, self.blocks[0], seed=self.seed, precise=True)
        except Exception:  # noqa: BLE001 - a model may refuse, in any way
            return False
        return loss.dtype == torch.float64

    @cached_property
    def finest(self) -> Hessian:
        """The Hessian that eigenvalues are taken of: in double precision for small networks, where that can be."""
        if self.problem.dimension > SMALL or not self.precise:
            return self.hessian
        self.gradient_evaluations += 2 * len(self.blocks)
        return self.problem.hessian_at(self.point, *self.blocks, seed=self.seed, precise=True, tune=self.tune)

    @cached_property
    def eigensystem(self) -> Eigensystem | None:
        """All eigenvalues and eigenvectors of a small network, in double precision where that can be; else None."""
        if self.problem.dimension * len(self.blocks) > WHOLE:
            return None
        before = self.finest.products
        matrix = whole_hessian(self.finest)
        self.gradient_evaluations += 2 * len(self.blocks) * (self.finest.products - before)
        return eigensystem(matrix, max(torch.finfo(self.finest.dtype).eps, self.finest.error))

    @cached_property
    def extremes(self) -> Extremes:
        """Both ends of the Hessian's spectrum, with error bounds."""
        if self.eigensystem is not None:
            return self.eigensystem.extremes(smallest=ENDS, largest=ENDS)
        return self.ends_of(self.finest, purpose=21)

    def curvature_along(self, direction: Tensor) -> Curvature | None:
        """vᵀHv for the direction v (n,), in double precision; None where the model does not compute in it, or torch's
        second derivative of it is wrong."""
        if not (self.precise and self.finest.plan.exact):
            return None
        self.gradient_evaluations += 2 * len(self.blocks)
        loss = partial(self.problem.loss_at, seed=self.seed, precise=True)
        point = {name: widened(tensor) for name, tensor in self.point.items()}
        scale = max(abs(self.extremes.largest.values[-1]), abs(self.extremes.smallest.values[0]))
        return curvature_along(
            self.problem.parts(loss, *self.blocks),
            point,
            direction,
            scale=scale,
        )

    def ends_of(self, operator: SymmetricOperator, *, purpose: int) -> Extremes:
        """Both ends of the spectrum of an operator made of this view's Hessian; the products are accounted for."""
        found = extreme_eigenpairs(
            operator,
            generator=self.generator(purpose),
            smallest=ENDS,
            largest=ENDS,
            max_products=PRODUCTS,
        )
        self.gradient_evaluations += 2 * len(self.blocks) * found.products
        return found

    def loss_at(self, point: Point) -> float:
        """The loss that is followed, over the sample, at another point."""
        self.gradient_evaluations += len(self.blocks) / 3

        def measured(block: Batch) -> tuple[float, float]:
            with torch.no_grad():
                return self.problem.terms(block), float(self.problem.loss_at(point, block, seed=self.seed))

        return weighted_mean(self.problem.ranks.spread(measured, self.blocks))

    def gradient_at(self, point: Point, block: int = 0) -> Point:
        """The gradient at another point, over one block of the sample."""
        self.gradient_evaluations += 1
        gradient = partial(self.problem.gradient_at, point, seed=self.seed)
        return self.problem.ranks.spread(gradient, [self.blocks[block]])[0]


def view_of(
    problem: Problem, snapshot: Snapshot, *, seed: int = 0, suspect: Batch | None = None, tune: bool = False
) -> View:
    """The view of a problem at a snapshot, on a branch of its own."""
    return View(problem.branch(snapshot), update=snapshot.update, seed=seed, suspect=suspect, tune=tune)
