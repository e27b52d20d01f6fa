"""``unstuck study`` and ``unstuck lecture`` as a person types them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.own_study import BROKEN, LOG
from tests.page.test_page import assert_accessible

from unstuck import cli, terminal
from unstuck.lecture import Chapter, Line, Shown, Text
from unstuck.studying import catalogue, replay

if TYPE_CHECKING:
    from playwright.sync_api import Page

Captured = pytest.CaptureFixture[str]

OWN = f"{Path(__file__).parents[1] / 'own_study.py'}:STUDY"


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("own_study", "target_own_study"):
        sys.modules.pop(name, None)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_study_of_ones_own_from_its_file_to_its_page(tmp_path: Path, capsys: Captured) -> None:
    assert cli.run(["study", OWN, "--jobs", "1", "--seeds", "0-2,7", "--json", "found/study.json"]) == 0
    said = capsys.readouterr()
    assert "logistic-map: agrees" in said.out
    assert "it rests at 0.6" in said.out
    folder = tmp_path / "unstuck-runs" / "study-1"
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "logistic-map.html", "report.json"]
    assert str(Path("unstuck-runs/study-1/index.html")) in said.out
    document = read(Path("found/study.json"))
    assert document == read(folder / "report.json")
    assert document["schema"] == 1
    assert document["studies"][0]["seeds"] == [0, 1, 2, 7]
    page = (folder / "logistic-map.html").read_text(encoding="utf-8")
    assert "At a growth of 2.5 every orbit comes to rest at 0.6." in page
    assert 'href="logistic-map.html"' in (folder / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("count", "told"), [(1, True), (3, True), (4, False)])
def test_of_many_studies_only_the_verdicts_are_told(count: int, told: bool, capsys: Captured) -> None:
    cli.run(["study", OWN, "--jobs", "1", "--quick", "--quiet", "--out", "there"])
    capsys.readouterr()
    terminal.tell_studies(read(Path("there/report.json"))["studies"] * count, Path("there/index.html"))
    said = capsys.readouterr().out
    assert said.count("logistic-map: agrees") == count
    assert ("it rests at 0.6" in said) is told


def test_the_document_goes_alone_to_standard_output(capsys: Captured) -> None:
    assert cli.run(["study", OWN, "--jobs", "1", "--quick", "--json", "-"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["studies"][0]["verdict"] == "agrees"
    assert said.err.startswith("unstuck: the page is ")


def test_the_pages_of_a_folder_are_drawn_again_from_its_report(capsys: Captured) -> None:
    cli.run(["study", OWN, "--jobs", "1", "--quick", "--out", "there"])
    before = Path("there/logistic-map.html").read_text(encoding="utf-8")
    Path("there/logistic-map.html").unlink()
    assert cli.run(["report", "there"]) == 0
    assert Path("there/logistic-map.html").read_text(encoding="utf-8") == before


@pytest.mark.usefixtures("one_chapter")
@pytest.mark.parametrize("verb", [["study", OWN, "--quick"], ["lecture", "1"]])
def test_a_folder_of_studies_is_gone_on_with_and_no_other_report_is_overwritten(
    verb: list[str], capsys: Captured
) -> None:
    assert [cli.run([*verb, "--jobs", "1", "--out", "there"]) for _ in range(2)] == [0, 0]
    Path("there/report.json").write_text('{"schema": 1, "diagnosis": {}}', encoding="utf-8")
    assert cli.run([*verb, "--jobs", "1", "--out", "there"]) == 2
    assert "this folder holds a report, and none is overwritten; give another" in capsys.readouterr().err
    assert "diagnosis" in read(Path("there/report.json"))


def test_runs_that_fail_are_told_and_the_exit_code_says_so(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv(BROKEN, "1")
    assert cli.run(["study", OWN, "--jobs", "1", "--seeds", "1"]) == 1
    said = capsys.readouterr()
    assert "logistic-map: not judged" in said.out
    assert "logistic-map: 1 of 2 runs have no result; RuntimeError: the second arm is out of order" in said.err
    assert "Not judged: 1 of 2 runs have no result" in Path("unstuck-runs/study-1/logistic-map.html").read_text("utf-8")


def test_what_was_found_last_is_listed(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    own = catalogue.study_of(OWN)
    monkeypatch.setattr(catalogue, "BUILT_IN", {own.name: own})
    assert cli.run(["study", "--list"]) == 0
    assert "logistic-map  not run yet · 1 s, quick 1 s" in capsys.readouterr().out
    assert cli.run(["study", OWN, "--quick", "--jobs", "1", "--quiet"]) == 0
    capsys.readouterr()
    assert cli.run(["study", "--list"]) == 0
    assert "logistic-map  agrees (quick)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name studies, or give --all"),
        (["minimum-ratio", "--all"], "name studies, or give --all"),
        (["maximum-ratio"], "there is no study 'maximum-ratio'; there are "),
        (["no.py:STUDY"], "there is no file no.py"),
        (["minimum-ratio", "--seeds", "4-0"], "--seeds 4-0: give seeds as in 0-4 or 7,8,9"),
        (["minimum-ratio", "--seeds", "x"], "--seeds x: give seeds as in 0-4 or 7,8,9"),
        (["minimum-ratio", "--on", "slurm"], "runs cannot be performed on 'slurm'"),
        (["minimum-ratio", "--jobs", "0"], "greater than or equal to 1"),
        (["minimum-ratio", "--ledger", "."], "ledger ."),
        (["minimum-ratio", "--device", "tpu"], "'tpu' is not one of"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, capsys: Captured) -> None:
    assert cli.run(["study", *arguments]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert told.count("\n") == 1


@pytest.fixture
def one_chapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lecture of one line, which rests on the study of one's own."""
    line = Line(
        says=Text("It comes to rest.", "它会静止下来。"),
        study="logistic-map",
        gate="rest",
        number=Text("place of rest", "静止处"),
        correction=Text("Only at small growth.", "只在增长率小时如此。"),
        shows=(Shown(picture="ends", title="终点", sees="所有轨道都停在同一处。"),),
    )
    chapter = Chapter(
        number=1,
        title=Text("Rest", "静止"),
        opens=Text("Does it?", "会吗？"),
        lines=(line,),
        summary=(replace(line, shows=()),),
    )
    monkeypatch.setattr(replay, "CHAPTERS", (chapter,))
    monkeypatch.setattr(catalogue, "BUILT_IN", {"logistic-map": catalogue.study_of(OWN)})


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "en",
            [
                "It comes to rest.",
                "place of rest: <strong>0.6</strong>",
                "Only at small growth.",
                "holds",
                "Every orbit ends",
            ],
        ),
        (
            "zh",
            [
                "它会静止下来。",
                "静止处: <strong>0.6</strong>",
                "只在增长率小时如此。",
                "成立",
                "所有轨道都停在同一处。",
            ],
        ),
    ],
)
@pytest.mark.usefixtures("one_chapter")
def test_the_lecture_is_replayed(language: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOG, "log")
    assert cli.run(["lecture", "1", "--lang", language, "--jobs", "1", "--out", "there"]) == 0
    page = Path("there/lecture.html").read_text(encoding="utf-8")
    for text in words:
        assert text in page
    assert len(Path("log").read_text().splitlines()) == 2  # a first look, at two seeds


@pytest.mark.parametrize("chapter", ["0", "6", "2-1", "one"])
def test_a_chapter_that_is_not_there(chapter: str, capsys: Captured) -> None:
    assert cli.run(["lecture", chapter]) == 2
    assert capsys.readouterr().err.startswith(
        f"unstuck: chapter {chapter!r}" if chapter == "one" else "unstuck: chapter "
    )


@pytest.mark.browser
@pytest.mark.usefixtures("one_chapter")
def test_pages_are_read_in_a_browser_without_network(browser_page: Page) -> None:
    cli.run(["study", OWN, "--jobs", "1", "--quick", "--out", "there"])
    cli.run(["lecture", "--jobs", "1", "--lang", "zh", "--out", "lecture"])
    browser_page.goto(Path("there/index.html").resolve().as_uri())
    browser_page.wait_for_selector("#figures-0 .main-svg")
    assert_accessible(browser_page)
    browser_page.click("text=The logistic map")
    browser_page.wait_for_selector("#figures-0 .main-svg")
    assert browser_page.url.endswith("logistic-map.html")
    assert "✓" in str(browser_page.evaluate("getComputedStyle(document.querySelector('.badge'), '::before').content"))
    assert_accessible(browser_page)
    browser_page.goto(Path("lecture/lecture.html").resolve().as_uri())
    browser_page.wait_for_selector("#logistic-map-ends .main-svg")
    assert_accessible(browser_page)
