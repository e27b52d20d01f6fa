"""The losses of a classifier, written out, each with its gradient with respect to the logits.

A classifier gives logits z, one per class; the target is a class, as the one-hot vector y or as a number c. Softmax
makes probabilities of logits, p_k = exp z_k / Σ_j exp z_j, and of two logits (0, z) the sigmoid, p = 1 / (1 + e^(−z)).

| loss | error e of a sample | ∂e/∂z |
| --- | --- | --- |
| integer-regression | (z − c)² of one output | 2 (z − c) |
| squared-error-on-logits | Σ (z_k − y_k)² | 2 (z − y) |
| squared-error-on-softmax | Σ (p_k − y_k)² | 2 p_j (p_j − y_j − Σ_k p_k (p_k − y_k)) |
| cross-entropy | −Σ y_k ln p_k | p − y |

Maximum likelihood is cross-entropy: the likelihood of all targets is Π p_c, and −1/N of its logarithm is the mean of
−ln p_c. Where the answer is wrong and certain, p_c → 0, its gradient stays at 1, while that of the squared error on
softmax has p_c as a factor and vanishes (Glorot and Bengio 2010, section 4.2).

Lecture chapter 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from unstuck.data import Batch
from unstuck.errors import InputError
from unstuck.forward import call, split
from unstuck.methods.logits import LogitsSeen, logits_at
from unstuck.problem import Problem

CHECKED = 64
"""Samples whose targets are looked at before a problem is given another loss."""

Rows = Callable[[Tensor, Tensor], Tensor]
"""(z, y), both (samples, classes, …) → e (samples, …), or ∂e/∂z of the shape of z."""


def log_softmax(logits: Tensor) -> Tensor:
    """ln p_k = z_k − ln Σ_j exp z_j over dimension 1.

    The largest logit is taken off first, so that none overflows; it cancels, and no gradient needs to go through it.
    """
    shifted = logits - logits.detach().amax(1, keepdim=True)
    return shifted - shifted.exp().sum(1, keepdim=True).log()


def softmax(logits: Tensor) -> Tensor:
    """p_k = exp z_k / Σ_j exp z_j over dimension 1."""
    return log_softmax(logits).exp()


def cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """−Σ y_k ln p_k."""
    return -(wanted * log_softmax(logits)).sum(1)


def cross_entropy_slope(logits: Tensor, wanted: Tensor) -> Tensor:
    """p − y; for y that sum to one."""
    return softmax(logits) - wanted


def squared_error(outputs: Tensor, wanted: Tensor) -> Tensor:
    """Σ (z_k − y_k)²."""
    return (outputs - wanted).square().sum(1)


def squared_error_slope(outputs: Tensor, wanted: Tensor) -> Tensor:
    """2 (z − y)."""
    return 2 * (outputs - wanted)


def squared_error_of_softmax(logits: Tensor, wanted: Tensor) -> Tensor:
    """Σ (p_k − y_k)²."""
    return squared_error(softmax(logits), wanted)


def squared_error_of_softmax_slope(logits: Tensor, wanted: Tensor) -> Tensor:
    """2 p_j (d_j − Σ_k p_k d_k) with d = p − y, by ∂p_k/∂z_j = p_k (δ_kj − p_j)."""
    shares = softmax(logits)
    slope = squared_error_slope(shares, wanted)
    return shares * (slope - (shares * slope).sum(1, keepdim=True))


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A loss (logits, targets) → the mean error over the samples.

    Logits are of shape (samples, classes, …), or (samples,) and (samples, 1) from a model with one output. Targets are
    class numbers, of that shape without the classes, or shares of each class, of that shape.

    Attributes:
        name: what it is called.
        error: of a sample.
        slope: of that error, in z.
        read: (logits, targets) → (z, y) of one shape, classes in dimension 1, in single precision at least.
        fits: whether the y are what the loss can be taken of.
        expects: which targets are.
    """

    name: str
    error: Rows
    slope: Rows
    read: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    fits: Callable[[Tensor], bool]
    expects: str

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.error(*self.read(logits, targets)).mean()

    def gradient(self, logits: Tensor, targets: Tensor) -> Tensor:
        """∂L/∂z, of the shape of the logits."""
        given, wanted = self.read(logits, targets)
        slope = self.slope(given, wanted) / (given.numel() // given.shape[1])
        return (slope if slope.numel() == logits.numel() else slope[:, 1]).reshape(logits.shape)

    def check(self, logits: Tensor, targets: Tensor) -> None:
        """Raise InputError where this is no loss for such targets."""
        if not self.fits(self.read(logits, targets)[1]):
            raise InputError(
                f"{self.name} needs targets that are {self.expects}; those of this problem go from "
                f"{float(targets.min()):g} to {float(targets.max()):g}: keep its own loss, or give classes"
            )


def one_output(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """One number per sample and its target, both (samples, 1).

    Raises:
        InputError: there are more outputs, or not as many targets.
    """
    if not logits.numel() == targets.numel() == logits.shape[:1].numel():
        raise InputError(
            f"this loss needs one output per sample and one target for it; got outputs of shape {tuple(logits.shape)} "
            f"and targets of shape {tuple(targets.shape)}"
        )
    given = logits.reshape(-1, 1)
    given = given.to(torch.promote_types(given.dtype, torch.float32))
    return given, targets.reshape(-1, 1).to(given.dtype)


def one_hot(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The logits and y of their shape: 1 for the class, 0 for the others. One output is left alone.

    Raises:
        InputError: the targets are of another shape or type.
    """
    if logits.numel() == logits.shape[:1].numel():
        return one_output(logits, targets)
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if targets.shape == logits.shape:
        return wide, targets.to(wide.dtype)
    if targets.shape != logits[:, 0].shape or targets.is_floating_point():
        raise InputError(
            f"outputs of shape {tuple(logits.shape)} need class numbers (whole, of shape {tuple(logits[:, 0].shape)}) "
            f"or shares of each class (of their own shape); got {targets.dtype} of shape {tuple(targets.shape)}"
        )
    classes = torch.arange(logits.shape[1], device=logits.device).view(-1, *[1] * (logits.dim() - 2))
    return wide, (targets.unsqueeze(1) == classes).to(wide.dtype)


def two_classes(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`one_hot`; one output z is the pair of logits (0, z), whose softmax is (1 − p, p) of the sigmoid p."""
    given, wanted = one_hot(logits, targets)
    if given.shape[1] > 1:
        return given, wanted
    return torch.cat([torch.zeros_like(given), given], 1), torch.cat([1 - wanted, wanted], 1)


def _are_shares(wanted: Tensor) -> bool:
    return bool((wanted >= 0).all()) and bool(((wanted.sum(1) - 1).abs() < 1e-3).all())


def _are_whole(wanted: Tensor) -> bool:
    return bool((wanted == wanted.round()).all())


def _are_finite(wanted: Tensor) -> bool:
    return bool(wanted.isfinite().all())


LOSSES: Mapping[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss(
            name="cross-entropy",
            error=cross_entropy,
            slope=cross_entropy_slope,
            read=two_classes,
            fits=_are_shares,
            expects="class numbers from 0, or probabilities that sum to one",
        ),
        Loss(
            name="squared-error-on-softmax",
            error=squared_error_of_softmax,
            slope=squared_error_of_softmax_slope,
            read=two_classes,
            fits=_are_shares,
            expects="class numbers from 0, or probabilities that sum to one",
        ),
        Loss(
            name="squared-error-on-logits",
            error=squared_error,
            slope=squared_error_slope,
            read=one_hot,
            fits=_are_finite,
            expects="finite",
        ),
        Loss(
            name="integer-regression",
            error=squared_error,
            slope=squared_error_slope,
            read=one_output,
            fits=_are_whole,
            expects="class numbers",
        ),
    )
}
"""Every loss by its name."""


def with_loss(branch: Problem, name: str) -> Problem:
    """The branch with updates that follow another loss of its logits; results are still judged by its own loss.

    The logits are what goes into the softmax or sigmoid that makes the model's outputs, else the outputs themselves.

    Raises:
        InputError: no loss has that name, it does not fit the outputs and targets, or the model computes its own.
    """
    if name not in LOSSES:
        raise InputError(f"no loss is called {name!r}; there are {', '.join(LOSSES)}")
    loss = LOSSES[name]
    for batch in branch.data.sample(CHECKED, chunk=CHECKED, seed=0):
        logits, targets = logits_at(branch, branch.point(), batch), split(branch.to_device(batch))[1]
        if logits is None or not isinstance(targets, Tensor):
            raise InputError(
                f"{name} is a loss of one tensor of outputs and one of targets, which this problem has not"
            )
        loss.check(logits, targets)
    return branch.changed(training_step=partial(_followed, loss=loss))


def _followed(model: nn.Module, batch: Batch, *, loss: Loss) -> Tensor:
    inputs, targets = split(batch)
    with LogitsSeen() as seen:
        outputs = call(model, inputs)
    behind = seen.behind(outputs)
    return loss(outputs if behind is None else behind, targets)
