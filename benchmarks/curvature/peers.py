"""The other curvature libraries, each asked as its documentation has it; plain torch beside them, as the limit.

Settings that a user would have to know beforehand are given to the peers: the loosest ones that reach 1e-3 here.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from benchmarks.curvature.jobs import GRID, Adapter, Answer, Solve
from benchmarks.curvature.plain import flat, products, torch_landscape, torch_product, torch_shared_landscape
from benchmarks.curvature.reference import LARGEST
from benchmarks.curvature.workloads import Workload
from torch import Tensor

LANCZOS_STEPS = {"W1": 30, "W4": 35}
"""The fewest steps, in fives, with which hessian-eigenthings reaches 1e-3 from every start vector."""

POWER_TOLERANCE = {"W1": 1e-4, "W4": 1e-5}
"""The loosest power of ten with which PyHessian reaches 1e-3 from every start vector."""

BLOCK = 8


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.calls = 0

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        return self._function(*arguments)


def loss_of_batch(workload: Workload) -> Callable[[Any, Any], Tensor]:
    """(model, batch) → loss."""
    criterion = workload.criterion

    def loss(model: Any, batch: Any) -> Tensor:
        found: Tensor = criterion(model(batch[0]), batch[1])
        return found

    return loss


def _pyhessian(workload: Workload, **data: Any) -> Any:
    workload.model.zero_grad()  # it adds to what is there
    return import_module("pyhessian").hessian(workload.model, workload.criterion, cuda=False, **data)


def pyhessian_product(workload: Workload) -> Solve:
    """One batch: the graph is kept."""
    hessian = _pyhessian(workload, data=workload.batch)
    apply = import_module("pyhessian.utils").hessian_vector_product
    return products(lambda vector: flat(apply(hessian.gradsH, hessian.params, workload.split(vector))), workload)


def pyhessian_loader_product(workload: Workload) -> Solve:
    """A loader: the graph is built for each vector."""
    hessian = _pyhessian(workload, dataloader=[workload.batch])
    return products(lambda vector: flat(hessian.dataloader_hv_product(workload.split(vector))[1]), workload)


def pyhessian_top10(workload: Workload) -> Solve:
    """Power iteration with deflation."""
    module: Any = import_module("pyhessian.hessian")
    counted = module.hessian_vector_product = Counted(module.hessian_vector_product)

    def solve(seed: int) -> Answer:
        torch.manual_seed(seed)
        counted.calls = 0
        hessian = _pyhessian(workload, data=workload.batch)
        values, _ = hessian.eigenvalues(maxIter=1000, tol=POWER_TOLERANCE[workload.name], top_n=LARGEST)
        return Answer(found=_by_magnitude(values), products=counted.calls)

    return solve


def pyhessian_trace(workload: Workload) -> Solve:
    """Hutchinson's estimator."""

    def solve(seed: int) -> Answer:
        torch.manual_seed(seed)
        samples = _pyhessian(workload, data=workload.batch).trace(maxIter=20, tol=0.0)
        return Answer(found=torch.tensor(samples).mean(), products=len(samples))

    return solve


def _by_magnitude(values: Any) -> Tensor:
    found = torch.as_tensor(values, dtype=torch.double)
    return found[found.abs().argsort(descending=True)]


# hessian-eigenthings


def _eigenthings(workload: Workload, method: str = "autograd") -> Any:
    library = import_module("hessian_eigenthings")
    loss = library.supervised_loss(workload.criterion)
    return library.HessianOperator(workload.model, [workload.batch], loss, method=method)


def eigenthings_product(workload: Workload) -> Solve:
    """Double backward."""
    return products(_eigenthings(workload).matvec, workload)


def eigenthings_difference(workload: Workload) -> Solve:
    """Central differences of gradients, with its own step."""
    return products(_eigenthings(workload, "finite_difference").matvec, workload)


def eigenthings_top10(workload: Workload) -> Solve:
    """Lanczos with as many steps as it needs."""
    library = import_module("hessian_eigenthings")
    steps = LANCZOS_STEPS[workload.name]

    def solve(seed: int) -> Answer:
        result = library.lanczos(_eigenthings(workload), k=LARGEST, max_iter=steps, seed=seed)
        return Answer(found=result.eigenvalues, bounds=result.residuals, products=result.iterations)

    return solve


def eigenthings_saddle(workload: Workload) -> Solve:
    """Lanczos, 20 steps."""
    library = import_module("hessian_eigenthings")

    def solve(seed: int) -> Answer:
        result = library.lanczos(_eigenthings(workload), k=1, max_iter=20, which="SA", seed=seed)
        return Answer(found=result.eigenvalues, bounds=result.residuals, products=result.iterations)

    return solve


def eigenthings_density(workload: Workload) -> Solve:
    """Stochastic Lanczos quadrature."""
    library = import_module("hessian_eigenthings")

    def solve(seed: int) -> Answer:
        result = library.spectral_density(_eigenthings(workload), num_runs=3, lanczos_steps=80, seed=3 * seed)
        return Answer(found=torch.stack([result.raw_eigenvalues, result.raw_weights]), products=240)

    return solve


def eigenthings_trace(workload: Workload) -> Solve:
    """Hutchinson's estimator."""
    library = import_module("hessian_eigenthings")

    def solve(seed: int) -> Answer:
        result = library.trace(_eigenthings(workload), num_matvecs=20, method="hutchinson", seed=seed)
        return Answer(found=torch.tensor(result.estimate), bounds=torch.tensor(result.stderr), products=20)

    return solve


# curvlinops


def _curvlinops(workload: Workload, **settings: Any) -> Any:
    operator = import_module("curvlinops").HessianLinearOperator
    return operator(workload.model, workload.criterion, workload.parameters, [workload.batch], **settings)


def curvlinops_product(workload: Workload) -> Solve:
    """One vector."""
    operator = _curvlinops(workload, check_deterministic=False)
    return products(lambda vector: operator @ vector, workload)


def curvlinops_block(workload: Workload) -> Solve:
    """Eight vectors at once."""
    operator = _curvlinops(workload, check_deterministic=False)
    block = torch.stack([workload.vector(seed) for seed in range(BLOCK)], 1)
    return lambda _seed: Answer(found=(operator @ block)[:, 0], products=BLOCK)


def curvlinops_top10(workload: Workload) -> Solve:
    """ARPACK by way of scipy, to its own precision."""
    return lambda seed: _arpack(workload, LARGEST, "LM", seed)


def curvlinops_saddle(workload: Workload) -> Solve:
    """ARPACK by way of scipy, to its own precision."""
    return lambda seed: _arpack(workload, 1, "SA", seed)


def _arpack(workload: Workload, count: int, which: str, seed: int) -> Answer:
    exported = _curvlinops(workload).to_scipy()
    counted = Counted(exported.matvec)
    scipy: Any = import_module("scipy.sparse.linalg")
    operator = scipy.LinearOperator(exported.shape, matvec=counted, dtype=exported.dtype)
    start = np.random.default_rng(seed).standard_normal(workload.dimension)
    values = scipy.eigsh(operator, k=count, which=which, v0=start, return_eigenvectors=False)
    return Answer(found=_by_magnitude(values.copy()), products=counted.calls)


def curvlinops_whole(workload: Workload) -> Solve:
    """The operator times the unit matrix."""
    return lambda _seed: Answer(
        found=torch.linalg.eigvalsh(_curvlinops(workload) @ torch.eye(workload.dimension)),
        products=workload.dimension,
    )


# nngeom


def _nngeom(workload: Workload) -> Any:
    return import_module("nngeom.models").Model(workload.model, loss_fn=loss_of_batch(workload))


def nngeom_product(workload: Workload) -> Solve:
    """Double backward; vectors are numpy's."""
    model, vector = _nngeom(workload), workload.vector().double().numpy()
    return lambda _seed: Answer(found=torch.from_numpy(model.hvp(workload.batch, vector)), products=1)


def nngeom_landscape(workload: Workload) -> Solve:
    """Its plane of two directions, scaled as it does by itself."""
    probes, planes = import_module("nngeom.probes"), import_module("nngeom.lossland")
    model = _nngeom(workload)

    def solve(seed: int) -> Answer:
        first, second = (
            probes.filter_normalize(probes.random_direction(model, seed=2 * seed + number), model) for number in (0, 1)
        )
        surface = planes.plane_slice_2d(model, workload.batch, steps=GRID, directions=[first, second])
        return Answer(found=torch.from_numpy(surface.losses), plane=(torch.from_numpy(second), torch.from_numpy(first)))

    return solve


# landscaper


def _landscaper(workload: Workload, *, keep: bool) -> Any:
    hessian = import_module("landscaper.hessian").PyHessian
    return hessian(workload.model, workload.criterion, [workload.batch], "cpu", try_cache=keep)


def landscaper_product(workload: Workload) -> Solve:
    """The graph is built for each vector."""
    hessian = _landscaper(workload, keep=False)
    return products(lambda vector: flat(hessian.hv_product(workload.split(vector))[1]), workload)


def landscaper_kept_product(workload: Workload) -> Solve:
    """The graph is kept."""
    hessian = _landscaper(workload, keep=True)
    return products(lambda vector: flat(hessian.hv_product(workload.split(vector))[1]), workload)


def landscaper_landscape(workload: Workload) -> Solve:
    """Its plane of two directions, each tensor scaled to unit entries and all to half the weights' length."""
    compute = import_module("landscaper.compute").compute_loss_landscape
    distance = 0.5

    def solve(seed: int) -> Answer:
        drawn = [[piece.clone() for piece in workload.split(workload.vector(2 * seed + number))] for number in (0, 1)]
        losses, _ = compute(
            workload.model,
            workload.batch,
            drawn,
            lambda model, batch: float(workload.criterion(model(batch[0]), batch[1])),
            steps=GRID,
            distance=distance,
            dim=2,
            device="cpu",
        )
        length = distance * float(flat(workload.parameters).norm()) * (GRID // 2) / (GRID / 2)
        first, second = (flat([piece * piece.numel() ** 0.5 / piece.norm() for piece in pieces]) for pieces in drawn)
        plane = (first * length / first.norm(), second * length / second.norm())
        return Answer(found=torch.from_numpy(losses), plane=plane)

    return solve


# pylandscape and loss-landscapes


def pylandscape_product(workload: Workload) -> Solve:
    """PyHessian with a loader underneath."""
    hessian = import_module("pylandscape.hessian").Hessian(workload.model, workload.criterion, [workload.batch])
    apply = hessian.hessian_comp.dataloader_hv_product
    return products(lambda vector: flat(apply(workload.split(vector))[1]), workload)


def loss_landscapes_landscape(workload: Workload) -> Solve:
    """Its random plane, filter-normalized; the directions cannot be given or had."""
    library = import_module("loss_landscapes")
    loss = import_module("loss_landscapes.metrics").Loss(workload.criterion, *workload.batch)

    def solve(seed: int) -> Answer:
        torch.manual_seed(seed)
        losses = library.random_plane(workload.model, loss, steps=GRID, normalization="filter", deepcopy_model=True)
        return Answer(found=torch.from_numpy(losses))

    return solve


PEERS: dict[str, dict[str, Adapter]] = {
    "product": {
        "plain torch, graph kept": torch_product,
        "pyhessian, data": pyhessian_product,
        "pyhessian, loader": pyhessian_loader_product,
        "landscaper, try_cache": landscaper_kept_product,
        "landscaper": landscaper_product,
        "pylandscape": pylandscape_product,
        "hessian-eigenthings": eigenthings_product,
        "hessian-eigenthings, differences": eigenthings_difference,
        "nngeom": nngeom_product,
        "curvlinops": curvlinops_product,
        "curvlinops, block of 8": curvlinops_block,
    },
    "top10": {
        "hessian-eigenthings, Lanczos": eigenthings_top10,
        "curvlinops and ARPACK": curvlinops_top10,
        "pyhessian, power iteration": pyhessian_top10,
    },
    "saddle": {
        "hessian-eigenthings, Lanczos": eigenthings_saddle,
        "curvlinops and ARPACK": curvlinops_saddle,
    },
    "density": {"hessian-eigenthings": eigenthings_density},
    "trace": {"pyhessian, data": pyhessian_trace, "hessian-eigenthings": eigenthings_trace},
    "whole": {"curvlinops and eigvalsh": curvlinops_whole},
    "landscape": {
        "plain torch, in place": torch_landscape,
        "plain torch, first layer shared": torch_shared_landscape,
        "landscaper": landscaper_landscape,
        "nngeom": nngeom_landscape,
        "loss-landscapes": loss_landscapes_landscape,
    },
}
"""Job → tool → adapter."""
