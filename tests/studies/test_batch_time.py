"""Batch and time: the arithmetic of its ratios, and a small run. No test looks at a clock."""

from __future__ import annotations

import pytest

from unstuck.studies import batch_time
from unstuck.studies.batch_time import measure, run, time_of
from unstuck.study import Run, Runs


def _timed(seed: int, threads: str, scale: float) -> Run:
    """t(B) = (2 + B/10) · scale milliseconds, over 60,000 samples."""
    sizes = [1, 16, 1_000, 60_000]
    update = [scale * (2.0 + size / 10.0) / 1_000.0 for size in sizes]
    return Run(
        {"seed": seed, "threads": threads},
        {
            "sizes": sizes,
            "update": update,
            "epoch": [60_000 / size * seconds for size, seconds in zip(sizes, update, strict=True)],
            "spread": [seconds / 10.0 for seconds in update],
            "fastest_batch": 60_000,
            "half_speed": None,
            "fixed": scale * 2e-3,
            "per_sample": scale * 1e-4,
            "threads": 1,
            "device": "cpu",
        },
    )


def test_ratios_are_those_of_one_thread_and_of_no_unit() -> None:
    runs = Runs([_timed(seed, threads, 1.0 + seed) for seed in (0, 1) for threads in ("one", "all")])
    found = {each.name: each for each in measure(runs)}
    assert found["update on 16 samples over one on one"].values == pytest.approx({0: 3.6 / 2.1, 1: 3.6 / 2.1})
    assert found["update on 1,000 samples over one on one"].values[0] == pytest.approx(102.0 / 2.1)
    assert found["update on the largest batch over one on one"].values[1] == pytest.approx(6_002.0 / 2.1)
    assert found["epoch of single samples over the fastest epoch"].values[0] == pytest.approx(60_000 * 2.1 / 6_002.0)
    assert found["spread of the times of one size"].values[0] == pytest.approx(0.1)
    assert found["half-speed batch"].values[0] != found["half-speed batch"].values[0]  # not told


def test_pictures_are_in_seconds_of_this_machine() -> None:
    pictures = batch_time.draw(Runs([_timed(seed, "one", 1.0) for seed in (0, 1)]))
    assert list(pictures) == ["update", "epoch"]
    assert "0.0021 s with one sample" in pictures["update"].layout.meta["summary"]


def test_a_run_times_every_size_that_gates_ask_for() -> None:
    found = run(seed=0, threads="one", work=150, samples=1_024, device="cpu")
    assert {1, 16, 1_000} <= set(found["sizes"])
    assert found["threads"] == 1
    assert all(seconds > 0.0 for seconds in found["update"])
    assert time_of(Run({}, found), 16) == found["update"][found["sizes"].index(16)]
