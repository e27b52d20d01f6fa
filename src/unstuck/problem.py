"""A problem: model + loss + data + optimizer (+ scheduler). L(θ; batch) as one pure function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, nn

from unstuck.branching import copied
from unstuck.curvature.gauss_newton import GaussNewton, Pass
from unstuck.curvature.hessian import MEMORY, Hessian, Part
from unstuck.curvature.loss import gradient_of
from unstuck.data import Batch, Data, everyones, first_samples, map_tensors, samples_in
from unstuck.errors import InputError
from unstuck.forward import Forward, run_purely
from unstuck.judged import judged_weights, walk_on
from unstuck.ranks import ALONE, Ranks, ranks, unwrapped
from unstuck.sharded import check_unsharded, is_sharded, loss_of_sharded, whole
from unstuck.snapshot import Snapshot, check_alike
from unstuck.untouched import generators_kept, take_hooks, without_hooks
from unstuck.vector import Point, weighted_mean, widened

REHEARSED = (8, 4)
"""Samples on which the way to make Hessian-vector products is chosen."""

LossFunction = Callable[[Any, Any], Tensor]
"""(outputs, targets) → scalar, the mean over the batch."""

Mode = Literal["training", "measuring", "evaluation"]
"""How the model is run: as it is trained; without dropout but with the batch's own statistics in batch
normalization, so that lagging moving averages are not taken for a bad loss; or in eval mode."""


def _required(name: str, what: str) -> Any:
    def missing() -> NoReturn:
        raise InputError(f"a problem needs `{name}`, {what}; it was not given")

    return field(default_factory=missing)


@dataclass(frozen=True, eq=False)
class Problem:
    """A training, handed over: what is minimized and how it is walked.

    Attributes:
        model: the network; never changed. Out of DistributedDataParallel it is taken, as its wrapper knows first
            derivatives alone.
        loss: (outputs, targets) → scalar, mean over the batch. May be left out where ``step`` is given.
        train: a DataLoader (or any re-iterable) of ``(inputs, targets)``; inputs may be a tensor, a tuple
            (positional arguments) or a dict (keyword arguments).
        optimizer: a torch optimizer over the model's parameters.
        valid: a loader of held-out data.
        scheduler: a torch learning-rate scheduler, stepped every ``schedule_every``.
        clip_norm: the norm to which gradients are clipped before each update.
        accumulate: batches per update.
        precision: the type that forward passes are autocast to.
        weight: batch → how many terms the batch's loss is the mean of; default: its samples.
        step: (model, batch) → loss, for models that compute their own loss.
        fresh: gives the problem as it was before training.
        name: how the problem is called in reports.
        training_step: (model, batch) → the loss that updates follow, where a remedy has replaced it; results
            are still judged by ``loss``.
        restore: what makes the outputs that ``loss`` expects of those that ``training_step`` works on, where
            a remedy has parted them.

    Raises:
        InputError: a field is missing or does not fit the others.
    """

    model: nn.Module = _required("model", "the torch.nn.Module that is trained")
    loss: LossFunction | None = None
    train: Iterable[Batch] = _required("train", "a DataLoader of (inputs, targets)")
    optimizer: torch.optim.Optimizer = _required("optimizer", "the torch.optim.Optimizer of the training")
    valid: Iterable[Batch] | None = None
    scheduler: Any = None
    schedule_every: Literal["epoch", "update"] = "epoch"
    clip_norm: float | None = None
    accumulate: int = 1
    precision: torch.dtype | None = None
    weight: Callable[[Batch], float] | None = None
    step: Callable[[nn.Module, Batch], Tensor] | None = None
    fresh: Callable[[], Problem | Mapping[str, Any]] | None = None
    name: str = "problem"
    training_step: Callable[[nn.Module, Batch], Tensor] | None = None
    restore: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise InputError(f"`model` must be a torch.nn.Module; got {type(self.model).__name__}")
        object.__setattr__(self, "model", unwrapped(self.model))
        if not isinstance(self.optimizer, torch.optim.Optimizer):
            raise InputError(f"`optimizer` must be a torch.optim.Optimizer; got {type(self.optimizer).__name__}")
        if self.loss is None and self.step is None:
            raise InputError("a problem needs `loss` (outputs, targets) -> scalar, or `step` (model, batch) -> loss")
        for name in ("loss", "step", "weight", "fresh"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise InputError(f"`{name}` must be callable; got {type(getattr(self, name)).__name__}")
        for name in ("train", "valid"):
            loader = getattr(self, name)
            if loader is not None and not isinstance(loader, Iterable):
                raise InputError(
                    f"`{name}` must be a DataLoader; got {type(loader).__name__}, which cannot be iterated"
                )
        if self.schedule_every not in ("epoch", "update"):
            raise InputError(f"`schedule_every` must be 'epoch' or 'update'; got {self.schedule_every!r}")
        if not isinstance(self.accumulate, int) or self.accumulate < 1:
            raise InputError(f"`accumulate` must be a whole number of batches, 1 or more; got {self.accumulate!r}")
        self._check_ownership()

    def _check_ownership(self) -> None:
        own = {id(parameter) for parameter in self.model.parameters()}
        if not own:
            raise InputError("`model` has no parameters; there is nothing to train")
        walked = {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}
        if not own & walked:
            raise InputError(
                "`optimizer` holds parameters of another model: none of them belongs to `model`; "
                "build it as Optimizer(model.parameters(), ...) from the model that is handed over"
            )

    @cached_property
    def data(self) -> Data:
        """The training data, read without touching the loader."""
        return Data(self.train)

    @cached_property
    def valid_data(self) -> Data | None:
        """The held-out data, where there is any."""
        return None if self.valid is None else Data(self.valid, "valid")

    @cached_property
    def sharded(self) -> bool:
        """Whether the parameters are spread over processes, which then make every pass together."""
        return is_sharded(self.model)

    @property
    def ranks(self) -> Ranks:
        """The processes among which batches are shared out; this one alone where each holds but a shard."""
        return ALONE if self.sharded else ranks(self.device)

    @property
    def device(self) -> torch.device:
        """Where the first parameter lives; batches are moved there."""
        return next(self.model.parameters()).device

    @property
    def dimension(self) -> int:
        """The number of trainable parameters."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def point(self) -> Point:
        """A detached copy of the trainable parameters, whole where they are sharded."""
        return {
            name: whole(parameter.detach()).clone()
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        }

    def modes(self, mode: Mode) -> dict[str, bool]:
        """The train/eval flag of every module in a mode.

        A model handed over in training mode keeps its flags (modules frozen in eval mode stay so); one
        handed over in eval mode is trained with all flags on.
        """
        modules = dict(self.model.named_modules())
        training = {name: module.training or not self.model.training for name, module in modules.items()}
        if mode == "training":
            return training
        if mode == "evaluation":
            return dict.fromkeys(modules, False)
        return {
            name: training[name] and getattr(module, "running_mean", None) is not None
            for name, module in modules.items()
        }

    def to_device(self, batch: Batch) -> Batch:
        """The batch where the model is."""
        device = self.device
        return map_tensors(lambda tensor: tensor.to(device), batch)

    def terms(self, batch: Batch) -> float:
        """How many terms the loss of this batch is the mean of."""
        return float(self.weight(batch)) if self.weight is not None else float(samples_in(batch))

    def restored(self, outputs: Any) -> Any:
        """The outputs as the problem's own loss expects them."""
        return outputs if self.restore is None else self.restore(outputs)

    def forward_loss(self, batch: Batch) -> Tensor:
        """The loss that updates follow, on the model as it stands: with its graph, its modes, its buffers."""
        with self.autocast():
            loss: Tensor = Forward(self)(batch)[0]
            return loss

    def autocast(self) -> torch.autocast:
        """The context of a forward pass, in the training's precision."""
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision is not None)

    def run_at(
        self,
        point: Mapping[str, Tensor],
        batch: Batch,
        *,
        mode: Mode = "training",
        seed: int = 0,
        own: bool = False,
        precise: bool = False,
    ) -> tuple[Tensor, Any]:
        """Loss and outputs at ``point``, purely: buffers, modes, hooks and generators do not move.

        Args:
            point: trainable parameters by name; gradients flow to them.
            batch: one batch of the loader.
            mode: how the model is run.
            seed: fixes the dropout masks, so that the loss is a function of the point alone.
            own: the problem's own loss instead of the one that updates follow.
            precise: in double precision; ``point`` is given in it, buffers and data are converted.

        Returns:
            The scalar loss, and what the model gave (None for problems with ``step``, and for sharded models, which
            every process runs on its part of the batch).
        """
        if self.sharded:
            if precise:
                raise InputError("a sharded model computes in the type of its shards, not in double precision")
            return loss_of_sharded(self, point, batch, mode=mode, seed=seed, own=own), None
        return run_purely(self, point, batch, mode=mode, seed=seed, own=own, precise=precise)

    def loss_at(
        self,
        point: Mapping[str, Tensor],
        batch: Batch,
        *,
        mode: Mode = "training",
        seed: int = 0,
        own: bool = False,
        precise: bool = False,
    ) -> Tensor:
        """L(θ; batch), pure. See :meth:`run_at`."""
        return self.run_at(point, batch, mode=mode, seed=seed, own=own, precise=precise)[0]

    def gradient_at(
        self, point: Mapping[str, Tensor], batch: Batch, *, mode: Mode = "training", seed: int = 0
    ) -> Point:
        """∂L/∂θ at ``point``, pure; zeros for parameters that the loss does not reach."""
        return gradient_of(partial(self.loss_at, batch=batch, mode=mode, seed=seed), point)[1]

    def hessian_at(
        self,
        point: Mapping[str, Tensor],
        *batches: Batch,
        mode: Mode = "training",
        seed: int = 0,
        precise: bool = False,
        memory: int = MEMORY,
        tune: bool = False,
    ) -> Hessian:
        """The Hessian of the mean loss over the batches, weighed by their terms, as an operator.

        Where several processes share the work, all call this at the same point, and its products are sums over them.

        Args:
            point: θ; some of the parameters alone give the diagonal block of these.
            batches: the data; where each process gives batches of its own, those of all together.
            mode: how the model is run.
            seed: fixes the dropout masks.
            precise: in double precision, whatever the training's type is.
            memory: bytes of graphs that are kept between products, at most.
            tune: choose the faster way to make products by the clock.
        """
        at = {name: widened(tensor) for name, tensor in point.items()} if precise else point
        loss = partial(self.loss_at, mode=mode, seed=seed, precise=precise)
        batches = everyones(batches)
        return Hessian(
            self.ranks.mine(self.parts(loss, *batches)),
            at,
            rehearsal=self.parts(loss, *(first_samples(batches[0], count) for count in REHEARSED), batches[0]),
            resolution=None if precise or self.precision is None else torch.finfo(self.precision).eps,
            memory=memory,
            total=self.ranks.total,
            tune=tune,
        )

    def parts(self, loss: Callable[..., Tensor], *batches: Batch) -> tuple[Part, ...]:
        """The batches as functions of the point, weighed by their terms."""
        total = sum(self.terms(batch) for batch in batches)
        return tuple(
            Part(loss=partial(loss, batch=batch), share=self.terms(batch) / total, samples=samples_in(batch))
            for batch in batches
        )

    def gauss_newton_at(
        self, point: Mapping[str, Tensor], *batches: Batch, mode: Mode = "training", seed: int = 0
    ) -> GaussNewton:
        """The generalized Gauss-Newton matrix of the mean loss over the batches, as an operator.

        Raises:
            InputError: the loss is no function of one tensor of outputs.
        """
        total = sum(self.terms(batch) for batch in batches)
        run = partial(self.run_at, mode=mode, seed=seed)
        return GaussNewton(
            [Pass(run=partial(run, batch=batch), share=self.terms(batch) / total) for batch in batches], point
        )

    def mean_loss(
        self,
        batches: Iterable[Batch],
        *,
        point: Mapping[str, Tensor] | None = None,
        mode: Mode = "measuring",
        seed: int = 0,
    ) -> float:
        """The problem's own loss over the batches (the same on every process), weighed by their terms.

        Where no point is given, at the weights that the training is judged by.
        """
        with judged_weights(self, statistics=mode == "evaluation") if point is None else nullcontext():
            at = self.point() if point is None else point

            def measured(batch: Batch) -> tuple[float, float]:
                with torch.no_grad():
                    return self.terms(batch), float(self.loss_at(at, batch, mode=mode, seed=seed, own=True))

            return weighted_mean(self.ranks.spread(measured, batches))

    def changed(self, **fields: Any) -> Problem:
        """The same problem with some fields exchanged, reading the same data: a recorded stream stays recorded."""
        changed = dataclasses.replace(self, **fields)
        if changed.train is self.train and changed.valid is self.valid:
            changed.__dict__.update(data=self.data, valid_data=self.valid_data)
        return changed

    def branch(self, at: Snapshot | None = None) -> Problem:
        """A copy that can be walked: model, loss, optimizer and scheduler in one copy, so that they stay wired.

        The caller's hooks are left behind. Where the model cannot be copied, ``fresh()`` is asked for a
        second one, which is given this one's state.

        Raises:
            InputError: the model cannot be copied and there is no ``fresh``, or it is sharded.
        """
        check_unsharded(self.model)
        run = Forward(self)
        with without_hooks(run):
            try:
                optimizer, model, loss, training_step, scheduler = copied(
                    run, self.optimizer, self.model, self.loss, self.training_step, self.scheduler
                )
            except Exception as error:  # noqa: BLE001 - any module may refuse, in any way
                branch = self._fresh_branch(error)
                at = at or Snapshot.of(self)
            else:
                branch = self.changed(
                    model=model, loss=loss, training_step=training_step, optimizer=optimizer, scheduler=scheduler
                )
        if at is not None:
            at.restore(branch)
        walk_on(branch.optimizer)
        if self.ranks.size > 1:  # in distributed training, buffers are the first process's
            self.ranks.take_first(Forward(branch).buffers())
        return branch

    def _fresh_branch(self, error: Exception) -> Problem:
        if self.fresh is None:
            raise InputError(
                f"the model cannot be copied ({type(error).__name__}: {error}); "
                "give `fresh`, a function that builds the problem anew"
            ) from error
        with generators_kept():
            given = self.fresh()
        made = given if isinstance(given, Problem) else Problem(**given)
        check_alike(self, made)
        branch = self.changed(
            model=made.model, loss=made.loss, step=made.step, optimizer=made.optimizer, scheduler=made.scheduler
        )
        take_hooks(Forward(branch))
        for mine, its in zip(self.model.modules(), branch.model.modules(), strict=True):
            its.training = mine.training
        for own, its_own in zip(self.model.parameters(), branch.model.parameters(), strict=True):
            its_own.requires_grad_(own.requires_grad)
        return branch
