"""Data of the ward: drawn from one source under a seed, and worth learning."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from unstuck.ward import tasks
from unstuck.ward.tasks import Task

ALL = (
    *(tasks.teacher, tasks.glyphs, tasks.waves, tasks.recall, tasks.subject),
    *(tasks.text, tasks.surface, tasks.vibrations),
)
CLASSES = ALL[:5]
every_task = pytest.mark.parametrize("task", ALL, ids=lambda task: task.__name__)


@every_task
def test_a_seed_is_a_draw(task: Callable[[int], Task]) -> None:
    one, again, other = task(0), task(0), task(1)
    assert all(torch.equal(a, b) for a, b in zip(one.train, again.train, strict=True))
    assert not torch.equal(one.train[0], other.train[0])
    assert not torch.equal(one.train[0][: tasks.HELD_OUT], one.valid[0])
    assert [len(part) for part in (*one.train, *one.valid)] == [tasks.SAMPLES] * 2 + [tasks.HELD_OUT] * 2


@every_task
def test_drawing_leaves_the_global_generator_alone(task: Callable[[int], Task]) -> None:
    before = torch.get_rng_state()
    task(3)
    assert torch.equal(torch.get_rng_state(), before)


@every_task
def test_inputs_are_as_networks_like_them(task: Callable[[int], Task]) -> None:
    inputs = task(0).train[0]
    if inputs.is_floating_point():
        assert abs(float(inputs.mean())) < 0.1
        assert float(inputs.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("task", CLASSES, ids=lambda task: task.__name__)
def test_every_class_occurs(task: Callable[[int], Task]) -> None:
    shares = torch.bincount(task(0).train[1]) / tasks.SAMPLES
    assert float(shares.min()) > 0.3 / len(shares)


def test_what_is_to_be_recalled_is_the_first_symbol() -> None:
    inputs, targets = tasks.recall(0).train
    assert float((inputs[:, 0].argmax(1) == targets).double().mean()) > 0.8
    assert float((inputs[:, 1].argmax(1) == targets).double().mean()) < 0.3


def test_text_is_read_a_character_ahead() -> None:
    inputs, targets = tasks.text(0).train
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    words = "".join(tasks.LETTERS[number] for number in inputs[:200].flatten().tolist())
    assert " the " in words


def test_three_dimensions_explain_the_surface() -> None:
    points = tasks.surface(0).train[0]
    spectrum = torch.linalg.svdvals(points - points.mean(0)) ** 2
    assert float(spectrum[:3].sum() / spectrum.sum()) > 0.5
    assert float(spectrum[3:].sum() / spectrum.sum()) > 0.1  # curved: a plane does not hold it


def test_words_are_those_of_their_page() -> None:
    """The most frequent words have the smallest numbers, and pages differ in them."""
    inputs, targets = tasks.subject(0).train
    assert 0 < int((inputs == 1).sum()) > int((inputs == 100).sum()) > 0
    assert int(inputs.max()) == tasks.VOCABULARY - 1
    counts = [torch.bincount(inputs[targets == page].flatten(), minlength=tasks.VOCABULARY) for page in (1, 2)]
    shares = [count / count.sum() for count in counts]
    assert float((shares[0] - shares[1]).abs().sum()) > 0.5


def test_what_is_asked_of_a_vibration_is_in_it() -> None:
    """The offset is the mean of the last patches, where the vibration has died down."""
    inputs, asked = tasks.vibrations(0).train
    assert torch.allclose(asked.std(0), torch.ones(tasks.ASKED), atol=0.05)
    damped = asked[:, 1] > 1
    found = torch.corrcoef(torch.stack((inputs[damped, 4:].mean((1, 2)), asked[damped, 3])))
    assert float(found[0, 1]) > 0.9
