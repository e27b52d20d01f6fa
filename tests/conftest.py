"""What every test shares: one thread, repeatable examples, and a browser for the pages."""

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# One thread for each process, here and in those a test starts. Read by torch and numpy when they load.
os.environ["OMP_NUM_THREADS"] = "1"

# The same examples in every run, and no clock that fails a test on a slow machine.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = (
    "--no-sandbox",  # needed as root, where containers run their tests
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """The machine's Chromium, started once for each test process."""
    executable = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if executable is None:
        notice = f"no browser: none of {', '.join(CHROMIUM_NAMES)} is on PATH; install Debian's chromium"
        if os.environ.get("UNSTUCK_REQUIRE_BROWSER"):
            pytest.fail(f"{notice} (UNSTUCK_REQUIRE_BROWSER is set, so this is not skipped)", pytrace=False)
        pytest.skip(notice)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=list(CHROMIUM_FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def browser_page(browser: "Browser") -> "Iterator[Page]":
    """An empty page without network: what it shows must have come with the file."""
    context = browser.new_context(offline=True)
    yield context.new_page()
    context.close()
