"""Moving a problem: everything that belongs together stays together."""

import pytest
import torch
from torch import nn

from unstuck import specimens
from unstuck.device import place
from unstuck.errors import InputError
from unstuck.problem import Problem

HAVING_CUDA = torch.cuda.is_available()


def test_a_problem_that_is_there_already_is_left_as_it_is() -> None:
    problem = specimens.bowl()
    assert place(problem, "cpu") is problem


@pytest.mark.skipif(HAVING_CUDA or torch.backends.mps.is_available(), reason="this machine has more than a CPU")
def test_the_best_there_is_may_be_the_cpu() -> None:
    assert place(specimens.bowl(), "auto").device.type == "cpu"


@pytest.mark.parametrize("device", [name for name, there in {"cuda": HAVING_CUDA, "xla": False}.items() if not there])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(InputError, match=f"--device {device}: this machine has no such device; it has .*cpu"):
        place(specimens.bowl(), device)


@pytest.mark.skipif(not HAVING_CUDA, reason="needs a CUDA device")
def test_parameters_loss_and_optimizer_state_move_together() -> None:
    def made() -> Problem:
        model = nn.Linear(3, 2)
        batches = [(torch.ones(4, 3), torch.zeros(4).long())]
        loss = nn.CrossEntropyLoss(weight=torch.ones(2))
        return Problem(model, loss, batches, torch.optim.Adam(model.parameters(), lr=0.1), fresh=made)

    problem = made()
    problem.forward_loss(next(iter(problem.train))).backward()
    problem.optimizer.step()
    moved = place(problem, "cuda")
    assert moved.device.type == "cuda"
    listed = moved.optimizer.param_groups[0]["params"]
    assert all(a is b for a, b in zip(listed, moved.model.parameters(), strict=True))
    assert all(moved.optimizer.state[p]["exp_avg"].device.type == "cuda" for p in listed)
    assert moved.fresh is not None
    again = moved.fresh()
    assert isinstance(again, Problem)
    assert again.device.type == "cuda"
    moved.forward_loss(moved.to_device(next(iter(moved.train)))).backward()
