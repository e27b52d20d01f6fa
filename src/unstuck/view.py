"""A view: one problem at one snapshot, with a fixed sample, computing what probes share once."""

from __future__ import annotations

from functools import cached_property, partial

import torch

from unstuck.curvature.hessian import Hessian
from unstuck.curvature.loss import gradient_of
from unstuck.data import Batch, samples_in
from unstuck.numerics.krylov import SymmetricOperator
from unstuck.numerics.lanczos import Extremes, extreme_eigenpairs
from unstuck.problem import Problem
from unstuck.snapshot import Snapshot
from unstuck.untouched import derived_seed
from unstuck.vector import Point

SAMPLE = 512
"""Samples on which a view measures, where the data has as many."""

PARTS = 8
"""Batches into which it is cut at least: how they differ is what tells the noise."""

BLOCK = 256
"""Samples per pass for models whose result does not depend on how samples are grouped."""

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

    Attributes:
        gradient_evaluations: what has been spent here, in gradients of one batch.
    """

    def __init__(self, branch: Problem, *, update: int = 0, seed: int = 0, suspect: Batch | None = None) -> None:
        self.problem = branch
        self.update = update
        self.seed = seed
        self.suspect = suspect
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
        losses = (partial(self.problem.loss_at, batch=batch, seed=self.seed) for batch in self.sample)
        return tuple(gradient_of(loss, self.point) for loss in losses)

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
        self.gradient_evaluations += 2 * len(self.blocks) + 4  # its symmetry is looked at with two products
        return self.problem.hessian_at(self.point, *self.blocks, seed=self.seed)

    @cached_property
    def extremes(self) -> Extremes:
        """Both ends of the Hessian's spectrum, with error bounds."""
        return self.ends_of(self.hessian, purpose=21)

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
        total = weight = 0.0
        with torch.no_grad():
            for batch in self.blocks:
                terms = self.problem.terms(batch)
                total += terms * float(self.problem.loss_at(point, batch, seed=self.seed))
                weight += terms
        return total / weight

    def gradient_at(self, point: Point, block: int = 0) -> Point:
        """The gradient at another point, over one block of the sample."""
        self.gradient_evaluations += 1
        return self.problem.gradient_at(point, self.blocks[block], seed=self.seed)


def view_of(problem: Problem, snapshot: Snapshot, *, seed: int = 0, suspect: Batch | None = None) -> View:
    """The view of a problem at a snapshot, on a branch of its own."""
    return View(problem.branch(snapshot), update=snapshot.update, seed=seed, suspect=suspect)
