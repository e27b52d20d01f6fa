"""Trainings of several lengths, at a small size."""

from __future__ import annotations

import schedulefree
import torch

from unstuck.fleet import epochs
from unstuck.methods.schedule import Constant, Cosine
from unstuck.study.experiments.horizons import BATCH, Task, horizons, network, with_horizon
from unstuck.study.experiments.networks import cross_entropy
from unstuck.untouched import seeded

TASK = Task(3, wrong=0.2, samples=96)


def test_schedule_free_is_that_of_its_authors() -> None:
    rates, updates = (0.05, 0.2), 9
    kept = TASK.schedule_free(rates, updates, {4, updates})
    assert kept.keys() == {4, updates}
    for place, rate in enumerate(rates):
        with seeded(3):
            model = network()
        optimizer = schedulefree.SGDScheduleFree(model.parameters(), lr=rate, momentum=0.9)
        optimizer.train()
        batches = [drawn for order, _ in zip(epochs(96, BATCH, 3), range(2), strict=False) for drawn in order]
        for drawn in batches[:updates]:
            optimizer.zero_grad()
            cross_entropy(model(TASK.learned[0][drawn]), TASK.learned[1][drawn]).mean().backward()
            optimizer.step()
        optimizer.eval()
        expected = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        torch.testing.assert_close(kept[updates][place], expected, rtol=1e-4, atol=1e-5)


def test_without_looking_ahead_it_is_the_mean_of_the_walk() -> None:
    walk = TASK.trained([Constant()], [0.1], 6, keep=range(1, 7))
    mean = torch.stack([walk.at(update).parameters[0] for update in range(1, 7)]).mean(0)
    average = TASK.schedule_free([0.1], 6, {6}, ahead=0.0)[6][0]
    torch.testing.assert_close(average, mean, rtol=1e-4, atol=1e-5)


def test_stable_trainings_are_one_until_they_decay() -> None:
    short, long = (with_horizon(updates)["stable, then decay"] for updates in (20, 40))
    both = TASK.trained([short, long], [0.1], 20, keep=[16])
    before, after = both.at(16).parameters, both.parameters
    torch.testing.assert_close(before[0], before[1])
    assert not torch.equal(after[0], after[1])


def test_a_cosine_stands_still_at_its_end() -> None:
    walk = TASK.trained([Cosine(updates=5)], [0.1], 8, keep=[5])
    torch.testing.assert_close(walk.at(5).parameters, walk.parameters)


def test_some_labels_are_wrong_and_the_losses_are_those_of_the_networks() -> None:
    right = Task(3, wrong=0.0, samples=96)
    assert 0 < int((TASK.learned[1] != right.learned[1]).sum()) < 40
    walk = right.trained([Constant()], [0.1, 1e30], 3)
    losses = right.losses(walk.parameters)
    expected = cross_entropy(walk.outputs(right.learned[0])[0], right.learned[1]).mean()
    assert abs(losses[0] - float(expected)) < 1e-5
    assert losses[1] == float("inf")
    assert horizons(1_200) == (300, 600, 1_200)
