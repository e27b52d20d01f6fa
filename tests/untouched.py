"""``assert_untouched(problem)``: whatever the block does, the caller's objects are the same bit for bit afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from unstuck.problem import Problem

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")


class Same:
    """An object that equals itself alone."""

    def __init__(self, itself: Any) -> None:
        self.itself = itself

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.itself is other.itself

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self.itself).__name__} at {id(self.itself):x}"


def content(value: Any) -> Any:
    """What a value holds, bit for bit, in a form that compares; what it is not known how to read is itself."""
    if isinstance(value, torch.Generator):
        return content(value.get_state())
    if isinstance(value, Tensor):
        value = getattr(value, "to_local", lambda: value)()  # of what processes share out, this one's part
        bits = value.detach().to_dense().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return value.dtype, tuple(value.shape), value.requires_grad, bits
    if isinstance(value, numpy.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {(Same(key).itself if isinstance(key, str | int) else id(key)): content(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [content(part) for part in value]
    if value is None or isinstance(value, str | int | float | bool | bytes):
        return repr(value)  # NaN equals itself
    return Same(value)


def of_module(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Everything a module and its children hold: attributes, parameters, buffers, gradients, modes and hooks."""
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            yield f"{name}.{key} itself", Same(value) if not isinstance(value, bool | int | float | str) else value
            yield f"{name}.{key}", content(value)
        for key, parameter in part.named_parameters(recurse=False):
            yield f"{name}.{key} itself", Same(parameter)
            yield f"{name}.{key}.grad itself", Same(parameter.grad)
            yield f"{name}.{key}.grad", content(parameter.grad)


def of_object(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of an object, each itself and what it holds; nothing for values without attributes."""
    if isinstance(value, nn.Module):
        yield from of_module(value)
        return
    for key, held in getattr(value, "__dict__", {}).items():
        yield f"{key} itself", Same(held) if not isinstance(held, bool | int | float | str) else held
        yield key, content(held)


def belongings(problem: Problem) -> dict[str, Any]:
    """Everything the caller owns, by name."""
    found = {f"model{key}": value for key, value in of_module(problem.model)}
    for loader_name in ("train", "valid"):
        loader = getattr(problem, loader_name)
        for part in ("", "sampler", "batch_sampler"):
            owner = getattr(loader, part, None) if part else loader
            found |= {f"{loader_name}.{part}.{key}": value for key, value in of_object(owner)}
    for name in ("loss", "optimizer", "scheduler"):
        found |= {f"{name}.{key}": value for key, value in of_object(getattr(problem, name))}
    found["Python's generator"] = random.getstate()
    found["NumPy's generator"] = content(numpy.random.get_state())  # noqa: NPY002 - is looked at, not drawn from
    found["torch's generator"] = content(torch.get_rng_state())
    found["gradients on"] = torch.is_grad_enabled()
    found["autocast"] = torch.is_autocast_enabled("cpu")
    found["threads"] = torch.get_num_threads()
    found["fused attention"] = torch.backends.cuda.flash_sdp_enabled()
    return found


@contextmanager
def watched(problem: Problem) -> Iterator[list[str]]:
    """The caller's hooks on every module, parameter and the optimizer for the block; yields those that fired."""
    fired: list[str] = []

    def hook(what: str) -> Any:
        return lambda *given, **named: fired.append(what)

    with ExitStack() as stack:

        def plant(handle: Any) -> None:
            stack.callback(handle.remove)

        modules = [problem.model, *([problem.loss] if isinstance(problem.loss, nn.Module) else [])]
        for module in (part for whole in modules for part in whole.modules()):
            plant(module.register_forward_pre_hook(hook("forward pre-hook")))
            plant(module.register_forward_hook(hook("forward hook"), with_kwargs=True))
            plant(module.register_full_backward_hook(hook("backward hook")))
            plant(module.register_full_backward_pre_hook(hook("backward pre-hook")))
        for parameter in problem.model.parameters():
            if parameter.requires_grad:
                plant(parameter.register_hook(hook("gradient hook")))
                plant(parameter.register_post_accumulate_grad_hook(hook("accumulation hook")))
        plant(problem.optimizer.register_step_pre_hook(hook("step pre-hook")))
        plant(problem.optimizer.register_step_post_hook(hook("step post-hook")))
        yield fired


@contextmanager
def assert_untouched(problem: Problem) -> Iterator[None]:
    """Fail where the block changes anything the caller owns, or lets one of the caller's hooks fire.

    Also where it raises: the check is made first, and the exception goes on.
    """
    with watched(problem) as fired:
        before = belongings(problem)
        try:
            yield
        finally:
            after = belongings(problem)
            changed = [key for key in before | after if key not in before or key not in after]
            changed += [key for key in before if key in after and before[key] != after[key]]
            assert not changed, f"changed: {', '.join(changed[:8])} ({len(changed)} in all)"
            assert not fired, f"fired: {', '.join(sorted(set(fired)))}"
