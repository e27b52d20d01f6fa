"""From a recipe to a branch under its methods, in one order, whatever the order in which they are given.

Batches first, as the others look at them; then what shapes the surface: normalization, loss; then how it is walked:
optimizer, schedule, clipping; averages last, around the optimizer that is there then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from unstuck.errors import InputError
from unstuck.methods.averaging import with_averaging
from unstuck.methods.batch import with_batch_size, with_ghost_batches, with_shuffle
from unstuck.methods.loss import with_loss
from unstuck.methods.optimizers import OPTIMIZERS, with_optimizer
from unstuck.methods.rate import scale_rates
from unstuck.methods.schedule import named, with_schedule
from unstuck.methods.warm_up import with_schedule_on_top
from unstuck.problem import Problem
from unstuck.recipe import HYPHENS, Recipe
from unstuck.surgery.insertion import with_normalization

UPDATES = 1_000
"""Updates, where neither updates nor epochs are asked for."""

DECAY = 0.99
"""β of the exponential average, which reaches over a hundred updates or so."""

PARTS = 4
"""Stochastic averaging is over the last of so many parts of a training (Izmailov et al. 2018, section 4.1)."""

Notes = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Treated:
    """A branch under the methods of a recipe.

    Attributes:
        problem: the branch.
        recipe: with updates in place of epochs, and its defaults written out.
        updates: how many to make in all.
        notes: of what was changed and what was left, whatever the recipe itself does not say.
    """

    problem: Problem
    recipe: Recipe
    updates: int
    notes: Notes


@dataclass(frozen=True, kw_only=True)
class Method:
    """One step on the way from a problem to its treated branch.

    Attributes:
        settings: the names of a recipe's settings that ask for it.
        apply: (branch, the settings that are given) → the branch with it, and notes.
    """

    settings: tuple[str, ...]
    apply: Callable[[Problem, Mapping[str, Any]], tuple[Problem, Notes]]


def treated(branch: Problem, recipe: Recipe) -> Treated:
    """A branch under the methods of a recipe; it is given away.

    Raises:
        InputError: settings do not go together, or do not fit the problem.
    """
    _check_together(recipe)
    defaults: dict[str, object] = {"seed": 0} if recipe.seed is None else {}
    if recipe.batch_size is not None and recipe.batch_rule is None:
        defaults["batch_rule"] = "linear" if recipe.rate is None else "none"
    if recipe.normalization is not None and recipe.placement is None:
        defaults["placement"] = "before"
    recipe = recipe.overridden(defaults)
    branch, told = _applied(OF_BATCHES, branch, recipe)
    updates = _updates(branch, recipe)  # a pass over the data has as many as their batches are
    recipe = recipe.overridden({"updates": updates})
    branch, more = _applied(OF_UPDATES, branch, recipe)
    return Treated(problem=branch, recipe=recipe, updates=updates, notes=(*told, *more))


def _applied(methods: tuple[Method, ...], branch: Problem, recipe: Recipe) -> tuple[Problem, Notes]:
    notes: Notes = ()
    for method in methods:
        if recipe.given.keys() & set(method.settings):
            branch, told = method.apply(branch, recipe.given)
            notes += told
    return branch, notes


def _updates(branch: Problem, recipe: Recipe) -> int:
    """How many updates to make."""
    if recipe.epochs is not None:
        return recipe.epochs * max(1, branch.data.batches_per_epoch // branch.accumulate)
    return UPDATES if recipe.updates is None else recipe.updates


def _check_together(recipe: Recipe) -> None:
    """Raise InputError where a setting makes no sense beside another, or without it."""
    for name, needed in (("batch_rule", "batch_size"), ("placement", "normalization"), ("optimizer", "rate")):
        if getattr(recipe, name) is not None and getattr(recipe, needed) is None:
            raise InputError(f"`{_key(name)}` needs `{_key(needed)}`; give both")
    if recipe.updates is not None and recipe.epochs is not None:
        raise InputError("give the number of `updates` or the number of `epochs`, not both")
    if recipe.rate is not None and recipe.batch_rule not in (None, "none"):
        raise InputError(
            f"`rate` says what the rate is, and `batch-rule` {recipe.batch_rule} what it becomes with another batch "
            "size; give one of them"
        )
    if recipe.optimizer is not None and not OPTIMIZERS[recipe.optimizer].scheduled:
        for name in ("schedule", "warm_up", "averaging"):
            if getattr(recipe, name) is not None:
                raise InputError(f"{recipe.optimizer} averages in place of a schedule; leave `{_key(name)}` out")


def _key(name: str) -> str:
    return name.translate(HYPHENS)


def _batch_size(branch: Problem, given: Mapping[str, Any]) -> tuple[Problem, Notes]:
    before = _base_rate(branch)
    branch = with_batch_size(branch, given["batch_size"], rule=given["batch_rule"])
    after = _base_rate(branch)
    told = f"with the batch size the rate goes from {before:g} to {after:g}, by the {given['batch_rule']} rule"
    return branch, (told,) if after != before else ()


def _base_rate(branch: Problem) -> float:
    """That of the first group; where there is a schedule, what it multiplies."""
    group = branch.optimizer.param_groups[0]
    return float(group.get("initial_lr", group["lr"]))


def _shuffle(branch: Problem, given: Mapping[str, Any]) -> tuple[Problem, Notes]:
    return with_shuffle(branch, on=given["shuffle"]), ()


def _normalization(branch: Problem, given: Mapping[str, Any]) -> tuple[Problem, Notes]:
    inserted = with_normalization(
        branch, given["normalization"], place=f"{given.get('placement', 'before')} activation"
    )
    told = f"normalization was put into {'; '.join(inserted.changed)}"
    left = f"normalization was left out of {'; '.join(inserted.left)}"
    return inserted.problem, (told, left) if inserted.left else (told,)


def _ghost_batches(branch: Problem, given: Mapping[str, Any]) -> tuple[Problem, Notes]:
    return with_ghost_batches(branch, given["ghost_batch"]), ()


def _loss(branch: Problem, given: Mapping[str, Any]) -> tuple[Problem, Notes]:
    return with_loss(branch, given["loss"]), ()


def _optimizer(branch: Problem, given: Mapping[str, Any]) -> tuple[Problem, Notes]:
    """Another optimizer, or other settings of the one that is there."""
    if "optimizer" not in given:
        if "rate" in given:
            _set_rate(branch, given["rate"])
        if "momentum" in given:
            _set_momentum(branch.optimizer, given["momentum"])
        if "weight_decay" in given:
            _set_weight_decay(branch.optimizer, given["weight_decay"])
        return branch, ()
    settings = {name: given[name] for name in ("momentum", "weight_decay") if name in given}
    walked = with_optimizer(branch, given["optimizer"], rate=given["rate"], **settings)
    lost = branch.scheduler is not None and walked.scheduler is None
    return walked, (f"{given['optimizer']} averages in place of a schedule: the training's own is not used",) * lost


def _set_rate(branch: Problem, rate: float) -> None:
    before = _base_rate(branch)
    if before > 0:
        scale_rates(branch.optimizer, branch.scheduler, rate / before)
        return
    raise InputError(f"the optimizer's rate is {before:g}, so that no `rate` is a multiple of it; give `optimizer` too")


def _set_momentum(optimizer: torch.optim.Optimizer, momentum: float) -> None:
    name = type(optimizer).__name__
    for group in optimizer.param_groups:
        if "betas" in group:
            group["betas"] = (momentum, *group["betas"][1:])
        elif "momentum" not in group:
            raise InputError(f"{name}, the training's optimizer, has no momentum; give `optimizer` and `rate` as well")
        elif optimizer.state and not group["momentum"] and not isinstance(optimizer, torch.optim.SGD):
            raise InputError(
                f"{name} has begun without momentum and cannot take it up; give `optimizer` and `rate` too"
            )
        else:
            group["momentum"] = momentum


def _set_weight_decay(optimizer: torch.optim.Optimizer, weight_decay: float) -> None:
    decays = [group.get("weight_decay") for group in optimizer.param_groups]
    if None in decays:
        raise InputError(f"{type(optimizer).__name__}, the training's optimizer, has no weight decay; give another")
    for group, decay in zip(optimizer.param_groups, decays, strict=True):
        if decay or not any(decays):
            group["weight_decay"] = weight_decay


def _schedule(branch: Problem, given: Mapping[str, Any]) -> tuple[Problem, Notes]:
    updates, warm_up = given["updates"], given.get("warm_up", 0)
    if "schedule" not in given:
        return with_schedule_on_top(branch, named("constant", updates=updates, warm_up=warm_up)), ()
    for group in branch.optimizer.param_groups:  # where an earlier schedule has begun, its own start is no base
        group["lr"] = group.get("initial_lr", group["lr"])
    return with_schedule(branch, named(given["schedule"], updates=updates, warm_up=warm_up)), ()


def _clipping(branch: Problem, given: Mapping[str, Any]) -> tuple[Problem, Notes]:
    return branch.changed(clip_norm=given["clip_norm"]), ()


def _averaging(branch: Problem, given: Mapping[str, Any]) -> tuple[Problem, Notes]:
    if given["averaging"] == "exponential":
        return with_averaging(branch, decay=DECAY), ()
    updates = given["updates"]
    return with_averaging(branch, start=updates - max(1, updates // PARTS)), ()


OF_BATCHES = (
    Method(settings=("batch_size",), apply=_batch_size),
    Method(settings=("shuffle",), apply=_shuffle),
)
"""What an update looks at; applied first."""

OF_UPDATES = (
    Method(settings=("normalization",), apply=_normalization),
    Method(settings=("ghost_batch",), apply=_ghost_batches),
    Method(settings=("loss",), apply=_loss),
    Method(settings=("optimizer", "rate", "momentum", "weight_decay"), apply=_optimizer),
    Method(settings=("schedule", "warm_up"), apply=_schedule),
    Method(settings=("clip_norm",), apply=_clipping),
    Method(settings=("averaging",), apply=_averaging),
)
"""What is done with it, in the order in which it is applied."""
