"""The system's Chromium, driven by Playwright; one skip where there is none, a failure in CI."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless browser for the whole session."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        why = "needs Chromium: apt-get install chromium (make test does it where it may)"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a file; what the console says, an error, or a request for anything but a file or data fails the test."""
    complaints: list[str] = []
    opened: list[Any] = []

    def visit(path: Path, *, width: int = 1000, dark: bool = False, scripts: bool = True) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light",
            reduced_motion="reduce", java_script_enabled=scripts,
        )  # fmt: skip
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on(
            "request",
            lambda asked: None if asked.url.startswith(("file:", "data:")) else complaints.append(asked.url),
        )
        page.goto(path.as_uri())
        return page

    yield visit
    for context in opened:
        context.close()
    assert complaints == []
