"""Outputs: what the model gives against what its loss expects, and against the best constant answer.

What a loss computes is found out by calling it, not by its name: it is compared with the known forms on
random outputs of the model's own kind, so a lambda or a subclass is recognized as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unstuck.budget import Budget
from unstuck.forward import split
from unstuck.initial import perturbation
from unstuck.passes.constant_answer import best_constant, kind_of, loss_of_constant
from unstuck.reading import Estimate, Reading, quantity
from unstuck.view import View

Form = Callable[[Tensor, Tensor], Tensor]

TRIES = 4
"""Random outputs on which a loss is compared with each known form, and far points at which outputs are looked at."""

RISE = 0.2
"""Share of a loss by which it rises materially: as much less is what a trial counts as a cure."""


@dataclass(frozen=True, kw_only=True)
class OutputsReading(Reading):
    """The model's outputs over the sample, and the loss as a function of them."""

    probe: ClassVar[str] = "outputs"
    title: ClassVar[str] = "What the model gives and the loss expects"
    chapter: ClassVar[int] = 4

    loss: Estimate = quantity("loss", "own loss over the sample, with its standard error over batches")
    constant: float | None = quantity("loss", "own loss of the best constant output, which ignores the inputs")
    form: str = quantity("", "what the loss computes")
    kind: str = quantity("", "what the outputs are: probabilities (they sum to one), shares (within 0 and 1), "
                             "log-probabilities, scores")  # fmt: skip
    low: float = quantity("output", "smallest output")
    high: float = quantity("output", "largest output")
    classes: int = quantity("", "length of the output per sample")
    binary_targets: bool = quantity("", "every target is 0 or 1, as it is or once a class's number is written one-hot")
    input_dependence: Estimate | None = quantity(
        "", "variance of outputs between samples over their mean square: 0 where inputs are ignored; standard error"
    )
    slope_over_error: float | None = quantity(
        "", "gradient of the loss on the logits over that of cross-entropy; small: flat where wrong"
    )

    @property
    def above_constant(self) -> bool:
        """Whether the model is no better than the best constant answer, within the error."""
        return self.constant is not None and self.loss.high >= self.constant - 0.02 * abs(self.constant)

    def risen_since(self, before: OutputsReading) -> bool:
        """Whether the loss is higher than at an earlier look, beyond the errors of both and by a material part."""
        rise = self.loss.value - before.loss.value
        return self.loss.low > before.loss.high and rise > RISE * abs(before.loss.value)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """One pass over the sample without gradient, then work on the outputs alone."""

    reads: ClassVar[type[Reading]] = OutputsReading
    curvature: ClassVar[bool] = False
    once: ClassVar[bool] = False

    def measure(self, view: View, budget: Budget) -> OutputsReading:
        losses, outputs, targets = _pass(view)
        mean = sum(s * v for s, v in zip(view.shares, losses, strict=True))
        spread = 0.0
        if len(losses) > 1 and not view.exhaustive:
            spread = (sum((v - mean) ** 2 for v in losses) / (len(losses) - 1) / len(losses)) ** 0.5
        loss = Estimate(mean, spread)
        if outputs is None or targets is None:
            return _opaque(view, loss)
        kind = kind_of(outputs)
        if kind == "shares" and not _bounded(view):
            kind = "scores"
        return OutputsReading(
            update=view.update,
            samples=view.samples,
            loss=loss,
            constant=_constant_loss(view, outputs, targets, kind),
            form=_form(view, outputs, targets, kind),
            kind=kind,
            low=float(outputs.min()),
            high=float(outputs.max()),
            classes=outputs.shape[1] if outputs.dim() > 1 else 1,
            binary_targets=_of_classes(outputs, targets) or bool(((targets == 0) | (targets == 1)).all()),
            input_dependence=_input_dependence(view, outputs),
            slope_over_error=_slope_over_error(view, outputs, targets, kind),
        )


def _pass(view: View) -> tuple[list[float], Tensor | None, Tensor | None]:
    losses: list[float] = []
    found: list[tuple[Any, Any]] = []
    view.gradient_evaluations += len(view.sample) / 3
    with torch.no_grad():
        for batch in view.sample:
            loss, outputs = view.problem.run_at(view.point, batch, mode="measuring", seed=view.seed, own=True)
            losses.append(float(loss))
            if isinstance(outputs, Tensor):
                wide = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
                found.append((wide, split(view.problem.to_device(batch))[1]))
    if len(found) < len(losses) or not all(isinstance(target, Tensor) for _, target in found):
        return losses, None, None
    try:
        return losses, torch.cat([o for o, _ in found]), torch.cat([t for _, t in found])
    except RuntimeError:  # ragged sequences cannot be put together
        return losses, None, None


def _opaque(view: View, loss: Estimate) -> OutputsReading:
    because = "the model's outputs are not one tensor, or the loss is computed in `step`: only the loss is read"
    return OutputsReading(
        update=view.update,
        samples=view.samples,
        notes=(because,),
        loss=loss,
        constant=None,
        form="unknown",
        kind="unknown",
        low=0.0,
        high=0.0,
        classes=0,
        binary_targets=False,
        input_dependence=None,
        slope_over_error=None,
    )


def _input_dependence(view: View, outputs: Tensor) -> Estimate:
    """Σᵢ |oᵢ − ō|² / Σᵢ |oᵢ|² over samples i, and the standard error of this ratio of two means, to first order."""
    between = (outputs - outputs.mean(0)).reshape(len(outputs), -1).square().mean(1).double()
    level = outputs.reshape(len(outputs), -1).square().mean(1).double()
    total = float(level.sum())
    if total == 0.0:
        return Estimate(0.0, 0.0)
    share = float(between.sum()) / total
    return Estimate(share, 0.0 if view.exhaustive else float((between - share * level).norm()) / total)


def _bounded(view: View) -> bool:
    """Whether outputs stay within 0 and 1 far from here: a sigmoid's do, small scores only happen to."""
    generator = view.generator(42)
    for _ in range(TRIES):
        away = perturbation(view.problem.model, view.point, generator)
        far = {name: 10 * (tensor + away[name]) for name, tensor in view.point.items()}
        view.gradient_evaluations += 1 / 3
        with torch.no_grad():
            outputs = view.problem.run_at(far, view.sample[0], mode="measuring", seed=view.seed, own=True)[1]
        if bool((outputs < 0).any()) or bool((outputs > 1).any()):
            return False
    return True


def _like(outputs: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Random outputs of the same kind, so that every loss that suits it is defined on them.

    For log-probabilities any numbers: on numbers that are normalized already, the cross-entropy of scores and the
    likelihood of log-probabilities are the same.
    """
    noise = torch.randn(outputs.shape, generator=generator, device="cpu").to(outputs)
    if kind == "probabilities":
        return (2 * noise).softmax(1)
    if kind == "shares":
        return noise.sigmoid()
    return noise * max(1.0, float(outputs.std(correction=0)))


def _of_classes(outputs: Tensor, targets: Tensor) -> bool:
    """Whether targets are numbers of classes, one for all outputs of a sample."""
    return not targets.is_floating_point() and outputs.dim() > 1 and targets.dim() == outputs.dim() - 1


def _forms(outputs: Tensor, targets: Tensor) -> dict[str, Form]:
    """The known losses that fit these shapes, up to a constant factor."""
    if _of_classes(outputs, targets):
        classes = outputs.shape[1]

        def one_hot(t: Tensor) -> Tensor:
            return F.one_hot(t.clamp_min(0), classes).movedim(-1, 1)

        return {
            "cross-entropy": F.cross_entropy,
            "negative log-likelihood": F.nll_loss,
            "squared error": lambda o, t: (o - one_hot(t)).pow(2).mean(),
        }
    if outputs.numel() != targets.numel():
        return {}
    return {
        "squared error": lambda o, t: (o - t.view_as(o)).pow(2).mean(),
        "binary cross-entropy": lambda o, t: F.binary_cross_entropy(o, t.view_as(o).to(o)),
        "binary cross-entropy of scores": lambda o, t: F.binary_cross_entropy_with_logits(o, t.view_as(o).to(o)),
        "cross-entropy": lambda o, t: F.cross_entropy(o, t.view_as(o).to(o)),
    }


def _form(view: View, outputs: Tensor, targets: Tensor, kind: str) -> str:
    if view.problem.loss is None:
        return "unknown"
    generator = view.generator(41)
    tries = [_like(outputs, kind, generator) for _ in range(TRIES)]
    for name, form in _forms(outputs, targets).items():
        try:
            factors = [float(view.problem.loss(o, targets)) / float(form(o, targets)) for o in tries]
        except (RuntimeError, ValueError, IndexError, ZeroDivisionError):
            continue
        spread = max(factors) - min(factors)
        if math.isfinite(spread) and factors[0] > 0 and spread <= 1e-3 * factors[0]:
            return name
    return "unknown"


def _constant_loss(view: View, outputs: Tensor, targets: Tensor, kind: str) -> float | None:
    """The loss of the best constant output of the same kind; None where it has no minimum or no meaning."""
    loss = view.problem.loss
    constant = None if loss is None else best_constant(loss, outputs, targets, kind)
    return None if loss is None or constant is None else loss_of_constant(loss, constant, outputs, targets)


def _slope_over_error(view: View, outputs: Tensor, targets: Tensor, kind: str) -> float | None:
    """|∂L/∂z| over that of cross-entropy on the same probabilities, z the logits (softmax outputs only)."""
    if (
        view.problem.loss is None
        or kind != "probabilities"
        or targets.is_floating_point()
        or targets.dim() != outputs.dim() - 1
    ):
        return None
    logits = outputs.clamp_min(1e-30).log().detach().requires_grad_()
    with torch.enable_grad():
        followed = view.problem.loss(logits.softmax(1), targets)
        (slope,) = torch.autograd.grad(followed, logits)
        (reference,) = torch.autograd.grad(F.cross_entropy(logits, targets), logits)
    return float(slope.norm() / reference.norm().clamp_min(1e-12))
