"""Nothing the caller owns is changed: the random generators are put back, the hooks stay silent.

Measurements never write to the caller's model or optimizer, because they work on copies
(:meth:`unstuck.problem.Problem.branch`) or on detached tensors. What is left to guard is what a copy
cannot avoid: the process-wide random generators, the loader's own generators, the hooks that would
fire into the caller's loggers, and what a forward pass leaves behind in its modules.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any

import numpy
import torch
from torch import nn

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
"""The dictionaries in which torch keeps a module's hooks."""


def derived_seed(*parts: int) -> int:
    """A seed made of several numbers, such that neighbouring numbers give unrelated seeds."""
    return int(numpy.random.SeedSequence([part % 2**32 for part in parts]).generate_state(1)[0])


def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and torch's process-wide generators. Only inside :func:`generators_kept`."""
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    # Not torch.manual_seed: it also seeds devices that the caller has yet to use, which nobody could undo.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


@contextmanager
def generators_kept(*generators: torch.Generator) -> Iterator[None]:
    """Put the process-wide random generators, and the given ones, back to where they were."""
    python, arrays, tensors = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    own = [(generator, generator.get_state()) for generator in generators]
    try:
        yield
    finally:
        random.setstate(python)
        numpy.random.set_state(arrays)
        torch.set_rng_state(tensors)
        if devices:
            torch.cuda.set_rng_state_all(devices)
        for generator, state in own:
            generator.set_state(state)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run the block under a seed of its own; the process-wide generators do not notice."""
    with generators_kept():
        seed_all(seed)
        yield


def loader_generators(loader: Any) -> list[torch.Generator]:
    """The torch generators that a data loader and its samplers own."""
    owners = [loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)]
    owners.append(getattr(owners[-1], "sampler", None))
    found = [getattr(owner, "generator", None) for owner in owners]
    return list({id(generator): generator for generator in found if generator is not None}.values())


def is_torchs_own(hook: Any) -> bool:
    """Whether a hook is part of the model's function: torch's weight norm, spectral norm, pruning, sharding."""
    sharding = str(getattr(hook, "__module__", "")).startswith("torch.distributed.fsdp")
    return sharding or type(hook).__module__.startswith("torch.nn.utils")


Taken = tuple[dict[str, Any], str, Any]
"""The attributes of a module, a kind of hooks, and those it held."""


def take_hooks(model: nn.Module) -> tuple[tuple[str, ...], list[Taken]]:
    """Take the caller's hooks off a model; gives where they were, and what it takes to put them back.

    Hooks by which torch itself computes a weight (weight norm, spectral norm, pruning) or gathers it (sharding)
    stay: without them the model would be another function.
    """
    places: list[str] = []
    taken: list[Taken] = []
    for name, module in model.named_modules():
        for kind in HOOKS:
            hooks = module.__dict__.get(kind)
            if not hooks:
                continue
            kept = OrderedDict((key, hook) for key, hook in hooks.items() if is_torchs_own(hook))
            if len(kept) < len(hooks):
                places.append(f"{name or 'the model'}: {kind.strip('_').replace('_', ' ')}")
            taken.append((module.__dict__, kind, hooks))
            module.__dict__[kind] = kept
    return tuple(places), taken


@contextmanager
def without_hooks(model: nn.Module) -> Iterator[tuple[str, ...]]:
    """Take the caller's hooks off for the block and put the same objects back; yields where they were."""
    places, taken = take_hooks(model)
    try:
        yield places
    finally:
        for attributes, kind, hooks in taken:
            attributes[kind] = hooks


class Attributes:
    """What the modules of a model hold, to be put back after each of many forward passes.

    Recurrent layers and weight norm leave tensors behind, and many a model counts its calls or keeps an activation.
    """

    def __init__(self, model: nn.Module) -> None:
        self._held = [(module.__dict__, dict(module.__dict__)) for module in model.modules()]
        values = {id(value): value for _, before in self._held for value in before.values()}.values()
        # Subclasses may refuse to be written to: the plain kinds alone.
        self._held += [(value, dict(value)) for value in values if type(value) in (dict, OrderedDict)]
        self._lists = [(value, list(value)) for value in values if type(value) is list]
        self._sets = [(value, set(value)) for value in values if type(value) is set]

    def put_back(self) -> None:
        """Undo what was assigned to a module, or added to a list, dict or set that it holds."""
        for held, before in self._held:
            if (held or before) and not (len(held) == len(before) and all(map(is_, held.values(), before.values()))):
                held.clear()
                held.update(before)
        for sequence, content in self._lists:
            sequence[:] = content
        for collection, members in self._sets:
            collection.clear()
            collection.update(members)


@contextmanager
def attributes_kept(model: nn.Module) -> Iterator[None]:
    """Put back, after the block, what a model's modules hold."""
    attributes = Attributes(model)
    try:
        yield
    finally:
        attributes.put_back()


@contextmanager
def in_mode(model: nn.Module, modes: dict[str, bool]) -> Iterator[None]:
    """Set the train/eval flag of each named module for the block; flags are plain attributes, set as such."""
    modules = dict(model.named_modules())
    before = {name: module.training for name, module in modules.items()}
    try:
        for name, flag in modes.items():
            modules[name].training = flag
        yield
    finally:
        for name, flag in before.items():
            modules[name].training = flag
