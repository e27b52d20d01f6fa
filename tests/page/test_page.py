"""The page in a real browser without a network: drawn, legible, accessible, and harmless."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.page.sample_document import (
    Document,
    diagnosis_document,
    healthy_document,
    measure_document,
    train_document,
)

from unstuck import page as unstuck_page
from unstuck import plot

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

pytestmark = pytest.mark.browser

DRIVER_NOTES = ("GL Driver Message", "willReadFrequently")  # Chromium on plotly's use of a machine without a GPU
PATIENCE = 60_000  # milliseconds a busy machine may take; nothing is decided by it
HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)"><a href="https://example.org">link</a>'
THEMES = {"light": plot.LIGHT, "dark": plot.DARK}


@dataclass
class Opened:
    """A page of a report in the browser, and what it said and asked for."""

    page: "Page"
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def note(self, message: "ConsoleMessage") -> None:
        if not any(note in message.text for note in DRIVER_NOTES):
            self.messages.append(message.text)


Opener = Callable[..., Opened]


def wait_until_drawn(page: "Page", theme: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator(f".plot:not([data-drawn={theme}])")).to_have_count(0, timeout=PATIENCE)


@pytest.fixture(scope="module")
def opener(browser: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opener]:
    """Opens a document's page from a file, in a browser without a network, and waits for its pictures."""
    contexts = []

    def open_page(document: Document, **options: Any) -> Opened:
        path: Path = tmp_path_factory.mktemp("page") / "report.html"
        path.write_text(unstuck_page.render(document), encoding="utf-8")
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.on("console", opened.note)
        opened.page.on("pageerror", lambda error: opened.messages.append(str(error)))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            wait_until_drawn(opened.page, options.get("color_scheme", "light"))
        return opened

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module", params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def diagnosis(opener: Opener, theme: str) -> Opened:
    return opener(diagnosis_document(), color_scheme=theme)


def rgb(colour: str) -> str:
    """A colour as a browser writes it."""
    return f"rgb({', '.join(str(int(colour[start : start + 2], 16)) for start in (1, 3, 5))})"


def assert_accessible(page: "Page") -> None:
    """axe-core finds nothing, of any severity, with every part unfolded."""
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate("document.querySelectorAll('details').forEach(part => (part.open = true))")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_every_picture_is_drawn(diagnosis: Opened) -> None:
    parts = diagnosis.page.evaluate(
        """[...document.querySelectorAll('.plot')].map(element => ({
            id: element.id,
            marks: element.querySelectorAll('svg .trace, svg .contour, svg .bars, canvas').length,
        }))"""
    )
    assert len(parts) == 8  # seven of the report, one of its trials
    assert all(part["marks"] for part in parts), parts


def test_the_console_is_silent(diagnosis: Opened) -> None:
    assert diagnosis.messages == []


def test_nothing_is_asked_of_a_network(diagnosis: Opened) -> None:
    asked = [url for url in diagnosis.requests if not url.startswith(("data:", "blob:"))]
    assert asked == [diagnosis.page.url]


def test_the_pictures_wear_the_theme_of_the_page(diagnosis: Opened, theme: str) -> None:
    papers = diagnosis.page.evaluate(
        "[...document.querySelectorAll('.plot')].map(element => element._fullLayout.paper_bgcolor)"
    )
    assert set(papers) == {THEMES[theme].paper}
    ground = diagnosis.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == rgb(THEMES[theme].ground)


def test_a_diagnosis_is_accessible(diagnosis: Opened) -> None:
    assert_accessible(diagnosis.page)


@pytest.mark.parametrize("document", [healthy_document, measure_document, train_document])
def test_other_reports_are_accessible_on_a_narrow_screen(opener: Opener, document: Callable[[], Document]) -> None:
    opened = opener(document(), viewport={"width": 320, "height": 700})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 320  # WCAG 2.2, 1.4.10: reflow
    assert_accessible(opened.page)
    assert opened.messages == []


def test_pointing_at_a_line_shows_its_value_and_spread(diagnosis: Opened) -> None:
    diagnosis.page.evaluate("Plotly.Fx.hover('trials-0', {xval: 240})")
    label = diagnosis.page.locator("#trials-0 .hoverlayer").text_content() or ""
    assert "lower-learning-rate" in label
    assert "0.1189 (0.0818 to 0.1561)" in label


def test_pictures_follow_the_system_from_light_to_dark_and_onto_paper(opener: Opener) -> None:
    opened = opener(train_document(), color_scheme="light")
    paper = "document.querySelector('.plot')._fullLayout.paper_bgcolor"
    assert opened.page.evaluate(paper) == plot.LIGHT.paper
    opened.page.emulate_media(color_scheme="dark")
    wait_until_drawn(opened.page, "dark")
    assert opened.page.evaluate(paper) == plot.DARK.paper
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    wait_until_drawn(opened.page, "light")
    assert opened.page.evaluate(paper) == plot.LIGHT.paper
    opened.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    wait_until_drawn(opened.page, "dark")


def test_on_paper_everything_is_unfolded_in_ink_on_white(opener: Opener) -> None:
    opened = opener(healthy_document(), color_scheme="dark")
    folded = opened.page.locator("details:not([open])")
    before = folded.count()
    opened.page.emulate_media(media="print")
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert folded.count() == 0
    ink = opened.page.evaluate("getComputedStyle(document.querySelector('h1')).color")
    assert ink == rgb(plot.LIGHT.ink)
    opened.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert folded.count() == before > 0


def test_the_copied_code_is_the_code_afterwards(opener: Opener) -> None:
    opened = opener(
        diagnosis_document() | {"figures": {}, "trials": []}, permissions=["clipboard-read", "clipboard-write"]
    )
    opened.page.get_by_role("button", name="Copy the new code").first.click()
    opened.page.get_by_role("button", name="Copied").wait_for(timeout=PATIENCE)
    copied = opened.page.evaluate("navigator.clipboard.readText()")
    assert copied == ("model = build()\noptimizer = torch.optim.SGD(model.parameters(), lr=0.08, momentum=0.9)")


def test_what_others_wrote_is_shown_and_never_run(opener: Opener) -> None:
    document = diagnosis_document(HOSTILE)
    document["figures"] = {key: document["figures"][key] for key in ("trials", "spectrum")}
    document["diagnosis"]["summary"] = document["notes"][0] = HOSTILE
    document["findings"][0]["evidence"][0]["says"] = HOSTILE
    document["prescription"]["steps"][0]["diff"] = f"+{HOSTILE}\n"
    opened = opener(document)
    main = opened.page.locator("main")
    assert opened.page.title() == f"Diagnosis of {HOSTILE} · unstuck"
    assert opened.page.locator("h1").text_content() == HOSTILE
    assert (main.text_content() or "").count(HOSTILE) >= 5
    assert main.locator("script, a, .card img").count() == 0
    opened.page.evaluate("Plotly.Fx.hover('figures-0', [{curveNumber: 0, pointNumber: 3}])")
    assert HOSTILE in (opened.page.locator("#figures-0 .hoverlayer").text_content() or "")
    assert opened.page.locator(".plot a[href]").count() == 0
    assert opened.messages == []


def test_an_inline_script_that_slipped_in_would_be_stopped(opener: Opener) -> None:
    opened = opener(healthy_document())
    opened.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
        }"""
    )
    assert opened.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in message for message in opened.messages)


def test_without_scripts_the_page_is_complete_but_for_its_pictures(opener: Opener) -> None:
    opened = opener(diagnosis_document(), java_script_enabled=False)
    notices = opened.page.locator(".plot").all_text_contents()
    assert set(notices) == {"This picture needs JavaScript; its numbers are below."}
    assert opened.page.locator("figure:not(:has(table)) + .scroll table").count() == 1  # the arms of the trials
    assert opened.page.locator("figure:not(:has(table))").count() == 1
    assert opened.page.locator("button:visible").count() == 0


def test_a_browser_that_cannot_unpack_says_so(browser: "Browser", tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(unstuck_page.render(train_document()), encoding="utf-8")
    with browser.new_context(offline=True) as context:
        page = context.new_page()
        page.add_init_script("delete window.DecompressionStream")
        page.goto(path.as_uri())
        assert "This browser is too old" in (page.locator(".plot").first.text_content() or "")


def test_a_picture_that_cannot_be_drawn_leaves_the_others_alone(opener: Opener) -> None:
    document = measure_document()
    document["figures"] = {"broken": {"data": [{"type": "surface", "z": 3}], "layout": {"xaxis": {"type": 7}}}} | {
        "layers": document["figures"]["layers"]
    }
    opened = opener(document)
    assert opened.page.locator("#figures-1 .bars").count() == 1


def test_a_notebook_draws_the_page_inside_its_frame(browser: "Browser") -> None:
    with browser.new_context(offline=True) as context:
        page = context.new_page()
        page.set_content(f"<!doctype html><body>{unstuck_page.render_fragment(train_document())}</body>")
        frame = page.frame_locator("iframe")
        frame.locator(".plot[data-drawn] svg .trace").first.wait_for(timeout=PATIENCE)
        assert frame.locator("h1").text_content() == "Training of digits-mlp for 5,040 updates"
        assert page.evaluate("typeof Plotly") == "undefined"  # the notebook itself is left alone
