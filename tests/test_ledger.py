"""The ledger: keys, shards, claims, and runs that go wrong."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unstuck.errors import InputError
from unstuck.ledger import Counts, Ledger, Shard, key_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
SETTINGS = st.dictionaries(st.text(), JSON, max_size=5)


class Clock:
    """Tells the time that it is set to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "ledger.sqlite"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(path: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger(path, clock=clock) as opened:
        yield opened


@pytest.fixture
def other(path: Path, clock: Clock, ledger: Ledger) -> Iterator[Ledger]:
    """Another driver's."""
    with Ledger(path, clock=clock) as opened:
        yield opened


def runs(count: int) -> list[dict[str, Any]]:
    return [{"x": x} for x in range(count)]


def finish(ledger: Ledger, key: str, result: Any = None) -> bool:
    return ledger.finish(key, result, seconds=1.0, threads=1)


def test_a_key_is_the_hash_of_canonical_json() -> None:
    text = b'{"a":[1,2.5,null,true],"b":{"c":"\\u00e9","d":-1}}'
    assert key_of({"b": {"d": -1, "c": "é"}, "a": (1, 2.5, None, True)}) == hashlib.sha256(text).hexdigest()


def reversed_in_depth(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_in_depth(value[key]) for key in reversed(value)}
    return [reversed_in_depth(part) for part in value] if isinstance(value, list) else value


@given(SETTINGS)
def test_the_order_of_settings_does_not_matter(given_settings: dict[str, Any]) -> None:
    assert key_of(reversed_in_depth(given_settings)) == key_of(given_settings)
    assert key_of(json.loads(json.dumps(given_settings))) == key_of(given_settings)


@given(SETTINGS, SETTINGS)
def test_different_settings_have_different_keys(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert one == two or key_of(one) != key_of(two)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), b"bytes"])
def test_what_is_no_json_is_no_setting_and_no_result(ledger: Ledger, value: Any) -> None:
    with pytest.raises(InputError, match=r"settings of a run: .* give JSON alone"):
        ledger.enter([{"x": value}])
    ledger.enter(runs(1))
    (row,) = ledger.claim()
    with pytest.raises(InputError, match="result of a run"):
        finish(ledger, row.key, value)
    assert ledger.rows()[0].state == "running"


@settings(max_examples=15)
@given(st.lists(SETTINGS, max_size=12), st.integers(1, 5))
def test_shards_are_a_partition(tmp_path_factory: pytest.TempPathFactory, given_runs: Any, count: int) -> None:
    with Ledger(tmp_path_factory.mktemp("shards") / "ledger.sqlite") as ledger:
        ledger.enter(given_runs)
        shards = [Shard(number=number, count=count) for number in range(1, count + 1)]
        keys = [row.key for shard in shards for row in ledger.rows(shard)]
        assert sorted(keys) == sorted({key_of(run) for run in given_runs})
        assert sum(ledger.counts(shard).total for shard in shards) == len(keys)
        claimed = [[row.key for row in ledger.claim(len(keys), shard)] for shard in shards]
        assert [key for part in claimed for key in part] == keys


def test_a_shard_is_the_same_ever_after(ledger: Ledger) -> None:
    """Its number is the key's first fifteen digits modulo the count."""
    ledger.enter(runs(20))
    there = {row.settings["x"] for row in ledger.rows(Shard.parse("2/3"))}
    assert there == {run["x"] for run in runs(20) if int(key_of(run)[:15], 16) % 3 == 1}
    assert 0 < len(there) < 20


@pytest.mark.parametrize("text", ["0/2", "3/2", "1/0", "1", "a/b", "1/2/3", "-1/2", ""])
def test_there_is_no_such_shard(text: str) -> None:
    with pytest.raises(InputError, match="give i/n"):
        Shard.parse(text)


def test_entering_again_changes_nothing(ledger: Ledger, other: Ledger) -> None:
    assert ledger.enter(runs(3)) == 3
    (row,) = ledger.claim()
    assert finish(ledger, row.key, {"loss": 0.5})
    assert other.enter([*runs(4), *runs(2)]) == 1
    assert [row.state for row in ledger.rows()] == ["done", "open", "open", "open"]
    assert ledger.rows()[0].result == {"loss": 0.5}
    assert ledger.counts() == Counts(open=3, done=1)
    assert (ledger.counts().left, ledger.counts().total) == (3, 4)


def test_claims_come_in_order_and_each_run_once(ledger: Ledger, other: Ledger) -> None:
    ledger.enter(runs(5))
    mine, theirs = ledger.claim(2), other.claim(2)
    assert [row.settings["x"] for row in (*mine, *theirs)] == [0, 1, 2, 3]
    assert {row.owner for row in mine} == {ledger.owner} != {other.owner}
    assert mine == ledger.rows()[:2]
    assert [row.settings["x"] for row in ledger.claim(9)] == [4]
    assert other.claim(9) == ()


def test_a_result_is_accepted_from_the_present_owner_alone(ledger: Ledger, other: Ledger, clock: Clock) -> None:
    ledger.enter(runs(1))
    assert not finish(ledger, key_of({"x": 0}), 1)  # nobody's
    (row,) = ledger.claim()
    assert not finish(other, row.key, 2)
    clock.now += ledger.stale + 1
    (row,) = other.claim()  # the first driver fell silent
    assert not finish(ledger, row.key, 3)  # and wakes up too late
    assert finish(other, row.key, 4)
    assert not finish(other, row.key, 5)  # it is done
    (row,) = ledger.rows()
    assert (row.state, row.result, row.owner, row.tries) == ("done", 4, other.owner, 2)
    assert (row.error, row.seconds, row.threads) == (None, 1.0, 1)


def test_only_silent_claims_go_back(ledger: Ledger, other: Ledger, clock: Clock) -> None:
    ledger.enter(runs(2))
    ledger.claim()
    clock.now += ledger.stale
    assert [row.settings["x"] for row in other.claim(2)] == [1]
    clock.now += 1
    assert [row.settings["x"] for row in other.claim(2)] == [0]
    assert ledger.claim(2) == ()
    clock.now += ledger.stale + 1
    assert other.claim(2) == ()  # its own it does not take away from itself


def test_heartbeats_keep_claims(path: Path) -> None:
    clock, main, later, beats = Clock(), threading.current_thread(), iter((False, True)), threading.Event()

    def told() -> float:
        """The clock, which tells when it is asked for the second time of a beat after it moved: one is written."""
        if threading.current_thread() is not main and clock.now > 1000.0 and next(later, True):
            beats.set()
        return clock.now

    with Ledger(path, stale=0.05, clock=told) as ledger, Ledger(path, stale=0.05, clock=clock) as other:
        ledger.enter(runs(1))
        ledger.claim()
        with ledger.kept_alive():
            clock.now += 1.0
            assert beats.wait(60)
        assert other.claim() == ()
        clock.now += 1.0
        assert len(other.claim()) == 1


def test_runs_that_go_wrong_are_tried_again_and_then_failed(ledger: Ledger) -> None:
    ledger.enter(runs(2))
    for tries in (1, 2, 3):
        (row,) = ledger.claim()
        assert (row.settings["x"], row.tries) == (0, tries)  # before the others
        ledger.put_back(row.key, f"Traceback {tries}")
    (first, second) = ledger.rows()
    assert (first.state, first.tries, first.error) == ("failed", 3, "Traceback 3")
    assert (second.state, second.tries) == ("open", 0)
    ledger.reopen()
    assert ledger.counts() == Counts(open=2)
    (row,) = ledger.claim()
    assert (row.settings["x"], row.tries) == (0, 1)


def test_a_run_whose_driver_falls_silent_each_time_is_failed(ledger: Ledger, other: Ledger, clock: Clock) -> None:
    ledger.enter(runs(1))
    for driver in (ledger, other, ledger):
        assert len(driver.claim()) == 1
        clock.now += ledger.stale + 1
    assert other.claim() == ()
    (row,) = ledger.rows()
    assert (row.state, row.error) == ("failed", "its driver fell silent")


def test_others_cannot_put_back_or_release(ledger: Ledger, other: Ledger) -> None:
    ledger.enter(runs(2))
    mine, theirs = ledger.claim()[0], other.claim()[0]
    other.put_back(mine.key, "no")
    other.release()
    assert [row.state for row in ledger.rows()] == ["running", "open"]
    assert [row.tries for row in ledger.rows()] == [1, 0]  # a release is no try
    assert not finish(other, theirs.key)


def test_many_drivers_open_a_new_ledger_and_share_it(path: Path) -> None:
    together = threading.Barrier(8, timeout=60)

    def work(_: int) -> list[int]:
        together.wait()
        with Ledger(path) as ledger:
            ledger.enter(runs(20))
            found = []
            while rows := ledger.claim():
                assert finish(ledger, rows[0].key, rows[0].settings["x"])
                found.append(rows[0].settings["x"])
            return found

    with ThreadPoolExecutor(8) as pool:
        found = [x for part in pool.map(work, range(8)) for x in part]
    assert sorted(found) == list(range(20))
    with Ledger(path) as ledger:
        assert [row.result for row in ledger.rows()] == list(range(20))
        assert all(row.tries == 1 for row in ledger.rows())
