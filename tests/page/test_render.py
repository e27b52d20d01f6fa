"""The page as text: nothing missing, nothing invented, nothing that breaks when a part is absent."""

import copy
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from tests.page.sample_document import (
    Document,
    diagnosis_document,
    healthy_document,
    measure_document,
    train_document,
)

from unstuck import page, plot
from unstuck.errors import InputError

DOCUMENTS = {
    "diagnosis": diagnosis_document,
    "healthy": healthy_document,
    "measure": measure_document,
    "train": train_document,
}
INVISIBLE = {"script", "style", "title"}
INLINE = {"span", "code", "em", "strong"}  # any other tag sets its text apart


class Outline(HTMLParser):
    """The visible text of a page, its headings, and the tags it uses."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.headings: list[int] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._set_apart(tag)
        self._open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        self._set_apart(tag)
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not INVISIBLE & set(self._open):
            self.texts.append(data)

    def _set_apart(self, tag: str) -> None:
        if tag not in INLINE:
            self.texts.append(" ")

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def text_of(document: Document) -> str:
    return Outline(page.render(document)).text


def pictures_of(html: str) -> list[Document]:
    """What the page hands to plotly.js."""
    embedded = re.search(r'<script type="application/json" id="pictures">(.*?)</script>', html, re.DOTALL)
    assert embedded
    found: list[Document] = json.loads(embedded[1])
    return found


def without_figures(document: Document) -> Document:
    """A page without pictures is rendered in milliseconds."""
    return document | {"figures": {}, "trials": []}


def paths(part: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every key and index inside a document."""
    if isinstance(part, dict | list):
        for key, below in part.items() if isinstance(part, dict) else enumerate(part):
            yield (*path, key)
            yield from paths(below, (*path, key))


def holder_of(document: Document, path: tuple[Any, ...]) -> Any:
    """The part of the document that holds the last key of `path`."""
    holder: Any = document
    for key in path[:-1]:
        holder = holder[key]
    return holder


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_headings_are_in_order_under_one_title(kind: str) -> None:
    outline = Outline(page.render(DOCUMENTS[kind]()))
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    steps = zip(outline.headings, outline.headings[1:], strict=False)
    assert all(below <= above + 1 for above, below in steps)


def test_the_verdict_comes_first_with_its_confidence_and_proof() -> None:
    document = diagnosis_document()
    text = text_of(document)
    places = [
        text.index(part)
        for part in (
            document["diagnosis"]["summary"],
            "very high · 0.93",
            "proved",
            "The problem",
            "What to do",
            "What the trials showed",
            "The proof",
            "Dose and response",
            "Why",
            "Pictures of the readings",
            "All readings",
            "What it cost",
            "How to read this page",
        )
    ]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("confidence", "word"),
    [(0.95, "very high"), (0.9, "very high"), (0.8, "high"), (0.5, "medium"), (0.2, "low"), (0.05, "very low")],
)
def test_confidence_is_given_in_words_and_as_a_number(confidence: float, word: str) -> None:
    document = without_figures(diagnosis_document())
    document["diagnosis"]["confidence"] = confidence
    assert f" {word} · {confidence:.2f}" in text_of(document)


def test_every_step_shows_its_settings_and_a_diff_that_needs_no_colour() -> None:
    html = page.render(diagnosis_document())
    text = Outline(html).text
    assert "Divide the learning rate by ten." in text
    assert "with factor = 0.1" in text
    assert "Shown by trial, from update 120 on: it removes 94% of the excess loss." in text
    assert "of the excess loss removed 94 % the loss is lower by 1.62 to 2.03" in text
    assert re.search(r'<del[^>]*><span class="sign">−</span>optimizer = .*lr=0\.8,', html)
    assert re.search(r'<ins[^>]*><span class="sign">\+</span><span data-code>optimizer = .*lr=0\.08,', html)


def test_the_command_can_be_pasted_into_a_shell() -> None:
    document = without_figures(diagnosis_document())
    expected = "unstuck train examples/digits.py:problem --updates 5040 --prescription report.json"
    assert expected in text_of(document)
    document["problem"]["target"] = "my work; rm -r ~.py:problem"
    assert "unstuck train 'my work; rm -r ~.py:problem' --updates" in text_of(document)


def test_a_problem_without_a_target_gets_the_line_of_python() -> None:
    document = without_figures(diagnosis_document())
    document["problem"]["target"] = None
    text = text_of(document)
    assert "fixed = report.prescription.apply(problem)" in text
    assert "unstuck train" not in text


def test_every_arm_stands_in_the_table_with_its_seeds_interval_and_verdict() -> None:
    document = diagnosis_document()
    text = text_of(document)
    for trial in document["trials"]:
        assert trial["because"] in text
        assert trial["verdict"] in text
    assert "0.118, 0.131, 0.109 0.1193 1.82 (1.62 to 2.03) ✓" not in text  # the mark is drawn, the word is read
    assert "0.118, 0.131, 0.109 0.1193 1.82 (1.62 to 2.03) better" in text
    assert "not finite, not finite, not finite not finite not finite failed" in text
    assert "Every arm, for learning-rate-too-high: train loss after 900 updates from update 120" in text
    assert "The largest gain is that of lower-learning-rate (factor = 0.1): 1.82 (1.62 to 2.03)." in text


def test_every_element_of_the_proof_stands_with_its_outcome() -> None:
    document = without_figures(diagnosis_document())
    text = text_of(document)
    for proof in document["diagnosis"]["proofs"]:
        assert f"{proof['element']} {proof['outcome']} {proof['expected']} {proof['says']}" in text
    document["diagnosis"]["proofs"] = []
    assert "The proof" not in text_of(document)


def test_a_second_round_of_trials_is_compared_with_its_own_untouched_arm() -> None:
    document = diagnosis_document()
    untouched, again, remedy = copy.deepcopy(document["trials"][:3])
    untouched |= {"mean": 0.119, "measure": "eval_gap"}
    document["trials"] += [untouched, again, remedy | {"mean": 0.019, "interval": [0.09, 0.11], "updates": 480}]
    outline = Outline(page.render(document))
    assert "What each arm gained in train loss" in outline.text
    assert "What each arm gained in eval gap" in outline.text
    assert "0.100 (0.090 to 0.110) better" in outline.text
    assert {"measure", "updates"} <= set(outline.texts)  # what differs within a round has a column


def test_an_arm_that_is_far_worse_does_not_hide_the_gains() -> None:
    document = diagnosis_document()
    document["trials"][-2] |= {"per_seed": [1e6, 2e6, 3e6], "mean": 2e6, "interval": [-3e6, -1e6]}
    (chart,) = [part for part in pictures_of(page.render(document)) if part["id"] == "rounds-0"]
    low, high = chart["layout"]["xaxis"]["range"]
    assert 0 > low > -10
    assert 1.9 < high < 3


def test_findings_are_told_with_their_evidence_and_what_could_not_be_judged() -> None:
    document = diagnosis_document()
    text = text_of(document)
    for finding in document["findings"]:
        assert finding["cause"] in text
        assert finding["means"] in text
        for entry in finding["evidence"]:
            assert entry["says"] in text
    assert "Not judged, because there is no validation set." in text
    assert "Advice: Hand over held-out data" in text
    assert "−0.618 cosine expected above −0.2" in text


def test_the_diagnosed_cause_is_open_and_the_others_are_folded() -> None:
    html = page.render(diagnosis_document())
    folded = re.findall(r"<details>\s*<summary><code class=\"name\">([\w-]+)</code>", html)
    causes = [finding["cause"] for finding in diagnosis_document()["findings"]]
    assert folded == causes[1:]


@pytest.mark.parametrize(
    ("entry", "written"),
    [
        ({"value": 12.3149, "error": 0.0412}, "12.315 ± 0.041"),
        ({"value": 3.35e-5, "error": 2.1e-6}, "(3.35 ± 0.21) × 10⁻⁵"),
        ({"value": 0.871, "error": [0.85, 0.89]}, "0.871 (0.850 to 0.890)"),
        ({"value": 1.2e8, "error": [1.0e8, 1.4e8]}, "1.20 (1.00 to 1.40) × 10⁸"),
        ({"value": 1250.0, "error": [410.0, None]}, "1,250 (at least 410)"),
        ({"value": None, "error": [410.0, None], "non_finite": True}, "at least 410"),
        ({"value": -1e-9, "error": 2.0}, "0.0 ± 2.0"),
        ({"value": 12_345.6}, "12,350"),
        ({"value": 9.99996}, "10"),
        ({"value": -0.00042}, "−4.2 × 10⁻⁴"),
        ({"value": 7}, "7"),
        ({"value": True}, "yes"),
        ({"value": "layer 3"}, "layer 3"),
        ({"value": [1.5, 2.5]}, "1.5, 2.5"),
        ({"value": list(range(20))}, "0, 1, 2, 3, 4, 5, 6, 7, … (20 in all)"),
        ({"value": None, "non_finite": True}, "not finite"),
        ({"value": None}, "—"),
    ],
)
def test_a_value_is_written_with_its_error(entry: Document, written: str) -> None:
    values = {"sharpness": entry["value"], **({"non_finite": True} if "non_finite" in entry else {})}
    reading = {"update": 3, "values": values, "error": {"sharpness": entry.get("error")}, "samples": 10}
    outline = Outline(page.render({"schema": 1, "readings": {"spectrum": [reading]}}))
    assert written in outline.texts


def test_readings_of_one_probe_stand_side_by_side_in_time() -> None:
    text = text_of(diagnosis_document())
    assert "quantity unit at update 0 at update 40 at update 120 what it means" in text
    assert "highest loss / unit² 4.123 ± 0.013 19.870 ± 0.013 46.761 ± 0.013 the largest eigenvalue" in text
    assert "minimum ratio 0.871 (0.850 to 0.890)" in text
    assert "trace loss² / unit² not finite of the covariance" in text
    assert "sample size 1,024 1,024 1,024 cost 40 gradient evaluations, 1.2 s" in text
    assert "The largest eigenvalue had not settled." in text
    assert "spectrum 3 120 3.8 s" in text  # its cost, summed over three readings


def test_what_is_missing_is_said() -> None:
    text = text_of(healthy_document())
    assert "Nothing to apply." in text
    assert "No trial was run. How it was decided: no cause shows its own signal" in text
    document = without_figures(diagnosis_document())
    document |= {"trials": diagnosis_document()["trials"], "prescription": None}
    assert "none of the 7 arms tried did." in text_of(document)


def test_a_training_shows_its_end_and_its_curve() -> None:
    text = text_of(train_document())
    assert "Training of digits-mlp for 5,040 updates" in text
    assert "How it was trained updates 5,040 seed 0 optimizer adam rate 0.001 warm up 100" in text
    assert "train loss 0.0912 valid loss —" in text
    assert "The loss goes from 2.35 at update 0 to 0.09213 at update 240." in text
    assert "Gradient norm" in text


def test_a_figure_without_a_summary_is_described_by_its_axes_and_series() -> None:
    figure = plot.figure(title="Drift", x="update", y="drift (loss)")
    plot.line(figure, [0, 1], [0.5, 0.25], name="head")
    text = text_of({"schema": 1, "figures": {"drift": plot.stored(figure)}})
    assert "Drift Across: update. Up: drift (loss). Shown: head." in text
    assert "update head 0 0.5 1 0.25" in text  # the table of its numbers


def test_a_long_figure_is_thinned_out_evenly_and_says_so() -> None:
    figure = plot.figure(title="Long", x="update", y="loss")
    plot.line(figure, np.arange(1001), np.zeros(1001), name="loss")
    text = text_of({"schema": 1, "figures": {"long": plot.stored(figure)}})
    assert "An even choice from 1,001 rows; report.json has them all." in text
    assert "1,000 0" in text


def test_series_with_abscissae_of_their_own_are_listed_point_by_point() -> None:
    figure = plot.figure(title="Two", x="update", y="loss")
    plot.line(figure, [0, 1], [0.5, 0.25], name="head")
    plot.line(figure, [7], [0.125], name="body")
    text = text_of({"schema": 1, "figures": {"two": plot.stored(figure)}})
    assert "series update loss head 0 0.5 head 1 0.25 body 7 0.125" in text


def test_the_same_report_gives_the_same_page() -> None:
    assert page.render(diagnosis_document()) == page.render(diagnosis_document())


def test_a_page_with_pictures_is_about_two_megabytes_and_without_them_small() -> None:
    assert 1.9e6 < len(page.render(diagnosis_document()).encode()) < 2.3e6
    assert len(page.render(healthy_document()).encode()) < 1e5


def test_a_document_survives_without_any_one_of_its_parts() -> None:
    document = without_figures(diagnosis_document())
    document["findings"] = [document["findings"][0], document["findings"][-1]]
    document["readings"] = {"noise": document["readings"]["noise"]}
    for path in paths(document):
        lacking, emptied = copy.deepcopy(document), copy.deepcopy(document)
        del holder_of(lacking, path)[path[-1]]
        holder_of(emptied, path)[path[-1]] = None
        assert "How to read this page" in page.render(lacking), path
        assert path == ("schema",) or "How to read this page" in page.render(emptied), path


@pytest.mark.parametrize("key", ["arm", "remedy", "settings", "measure", "per_seed", "interval", "mean", "verdict"])
def test_a_trial_survives_without_any_one_of_its_parts(key: str) -> None:
    document = without_figures(diagnosis_document())
    trials = diagnosis_document()["trials"]
    document["trials"] = [{kept: part for kept, part in trial.items() if kept != key} for trial in trials]
    assert "Every arm" in text_of(document)


def test_unknown_parts_are_passed_over() -> None:
    document = without_figures(diagnosis_document()) | {"weather": {"sky": "blue"}}
    assert page.render(document) == page.render(without_figures(diagnosis_document()))


def test_another_schema_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"schema 2.*reads schema 1.*the version of unstuck that wrote it"):
        page.render({"schema": 2})


def test_no_element_asks_for_anything_outside_the_page() -> None:
    for tag, attributes in Outline(page.render(diagnosis_document())).tags:
        for name in ("src", "href", "action", "data", "poster"):
            assert (attributes.get(name) or "data:,") == "data:,", tag


def test_the_policy_forbids_everything_that_is_not_named_by_its_hash() -> None:
    html = page.render(diagnosis_document())
    (policy,) = (
        attributes["content"]
        for tag, attributes in Outline(html).tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    assert directives["default-src"] == "'none'"
    assert re.fullmatch(r"('sha256-[\w+/=]+' ?){2}", directives["script-src"])
    assert re.fullmatch(r"('sha256-[\w+/=]+' ?){2}", directives["style-src"])


def test_figures_are_embedded_as_json_whatever_their_texts_are() -> None:
    document = diagnosis_document("</script><b>bold</b><!--")
    html = page.render(document)
    spectrum = next(part for part in pictures_of(html) if part["id"] == "figures-0")
    assert spectrum["data"][0]["name"] == "&lt;/script><b>bold</b>&lt;!--"


def test_a_notebook_gets_the_sentence_and_the_page_in_a_sandbox() -> None:
    document = diagnosis_document("<i>mine</i>")
    document["diagnosis"]["summary"] = 'The "rate" <b>is</b> too high.'
    outline = Outline(page.render_fragment(document))
    assert 'The "rate" <b>is</b> too high.' in outline.text
    ((_, frame),) = ((tag, attributes) for tag, attributes in outline.tags if tag == "iframe")
    assert frame["srcdoc"] == page.render(document)
    assert frame["title"] == "Diagnosis of <i>mine</i>"
    assert "allow-same-origin" not in (frame["sandbox"] or "")
