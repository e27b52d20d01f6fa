"""One process among those that share a problem (torchrun's ranks): its part of the work, and what all found together.

Every process runs the same program on the same numbers, so that all decide alike: what one of them computed, or all
of them summed, is known to all before anything depends on it. Without torch.distributed there is one process, and
everything here is the identity.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from unstuck.errors import InputError

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Who this process is among those that work together.

    Every method but :meth:`mine` is collective: all processes call it, in the same order. The last two are for more
    than one process.

    Attributes:
        rank: the number of this process, from 0.
        size: how many there are.
        device: where the numbers live that they exchange.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    def mine(self, items: Sequence[A]) -> Sequence[A]:
        """This process's share of what all have."""
        return items[self.rank :: self.size]

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, bit for bit the same on each."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    def sum(self, number: float) -> float:
        """The sum of a number over all processes, in double precision."""
        if self.size == 1:
            return number
        return float(self.total(torch.tensor(number, dtype=torch.float64, device=self.device)))

    def gathered(self, value: A) -> list[A]:
        """What each process has, by rank; tensors arrive on this process's device."""
        if self.size == 1:
            return [value]
        packed = io.BytesIO()
        torch.save(value, packed)
        received: list[Any] = [None] * self.size
        dist.all_gather_object(received, packed.getvalue())
        there = [torch.load(io.BytesIO(each), map_location=self.device, weights_only=False) for each in received]
        return [value if rank == self.rank else other for rank, other in enumerate(there)]

    def alike(self, value: object) -> bool:
        """Whether all processes have the same, for what can be compared."""
        return all(other == value for other in self.gathered(value))

    def spread(self, function: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """``function`` of each item, in order, on every process; each item is worked on by one of them.

        Args:
            function: gives numbers, tensors, or tuples, lists and dictionaries of these.
            items: the same on every process.
        """
        own: list[B] = []
        failure: Exception | None = None
        try:
            for number, item in enumerate(items):
                if number % self.size == self.rank:
                    own.append(function(item))
        except Exception as error:  # noqa: BLE001 - raised again once the others know of it
            failure = error
        found = self._agreed(failure, own)
        return [found[number % self.size][number // self.size] for number in range(sum(map(len, found)))]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a block that holds no collective call; where it fails on one process, it fails on all.

        Otherwise the others would wait for the one that failed.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:  # noqa: BLE001 - as above
            failure = error
        if self.sum(failure is not None):  # one number where nothing is wrong, which is nearly always
            self._agreed(failure, None)

    def _agreed(self, failure: Exception | None, value: A) -> list[A]:
        """What each process has, where none has failed; the failure is raised on all of them."""
        mine = None if failure is None else (isinstance(failure, InputError), str(failure) or type(failure).__name__)
        told = self.gathered((mine, value))
        if failure is not None:
            raise failure
        for rank, (theirs, _) in enumerate(told):
            if theirs is not None:
                ours_to_mend, message = theirs
                kind = InputError if ours_to_mend else RuntimeError
                raise kind(f"process {rank} of {self.size}: {message}")
        return [each for _, each in told]

    def average_gradients(self, parameters: Iterable[Tensor], loss: Tensor, weight: float) -> Tensor:
        """Give every process's ``.grad`` the mean over the processes, weighed; gives the mean of the losses.

        A parameter has a gradient afterwards where any process's loss reaches it.

        Args:
            parameters: the same on every process, with this process's gradients.
            loss: of this process's batches, a scalar.
            weight: how many terms it is the mean of.
        """
        tensors = list(parameters)
        reached = torch.tensor([tensor.grad is not None for tensor in tensors], device=self.device)
        terms = torch.tensor([weight], dtype=torch.float64, device=self.device)
        whole, losses, *counts = self.total(torch.cat([terms, terms * loss, reached])).tolist()
        taught = [tensor for tensor, count in zip(tensors, counts, strict=True) if count]
        for dtype in {tensor.dtype: None for tensor in taught}:  # in the same order everywhere, unlike a set
            group = [tensor for tensor in taught if tensor.dtype == dtype]
            own = [torch.zeros_like(t) if t.grad is None else t.grad.to_dense() for t in group]
            mean = self.total(weight / whole * torch.cat([gradient.reshape(-1) for gradient in own]))
            for tensor, part in zip(group, mean.split([tensor.numel() for tensor in group]), strict=True):
                sparse = tensor.grad is not None and tensor.grad.is_sparse
                tensor.grad = part.view_as(tensor).to_sparse(1) if sparse else part.view_as(tensor).clone()
        return loss.new_tensor(losses / whole)

    def take_first(self, tensors: Iterable[Tensor]) -> None:
        """Write the first process's values into every process's tensors."""
        for tensor in tensors:
            there = tensor.detach().contiguous()
            dist.broadcast(there, 0)
            tensor.detach().copy_(there)


ALONE = Ranks()
"""One process, or one that works on its own."""


def ranks(device: torch.device | None = None) -> Ranks:
    """Who this process is; :data:`ALONE` where torch.distributed is not initialized.

    Args:
        device: of the problem that is worked on; by default where the process group can exchange numbers.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return ALONE
    if device is None:
        on_cuda = dist.get_backend() == "nccl"
        device = torch.device("cuda", torch.cuda.current_device()) if on_cuda else torch.device("cpu")
    return Ranks(rank=dist.get_rank(), size=dist.get_world_size(), device=device)


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel, whose wrapper averages first derivatives alone."""
    if dist.is_available():
        while isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
    return model


def join() -> Callable[[], None] | None:
    """Join the process group that torchrun has prepared, where nobody has yet; gives what leaves it again."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        return None
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group(backend)
    return dist.destroy_process_group
