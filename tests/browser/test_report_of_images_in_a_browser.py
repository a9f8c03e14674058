"""The report on images in a real browser: slider, kinds, without scripts, on a phone, in the dark."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offnormal import Images, PCAReconstruction
from offnormal.report import render

SIDE = 16
Array = np.ndarray[Any, Any]


def plates(rows: int, seed: int, *, spot: int = 0) -> Array:
    """Return stripes, with a bright spot of so many pixels a side."""
    draw = np.random.default_rng(seed)
    stripes = 120 + 60 * np.sin(np.arange(SIDE) + draw.uniform(0, 6, (rows, 1, 1))) * np.ones((1, SIDE, 1))
    images = stripes + draw.normal(0, 5, (rows, SIDE, SIDE))
    images[:, 4 : 4 + spot, 6 : 6 + spot] += 70
    return images.clip(0, 255).astype(np.uint8)


KINDS = ["good"] * 30 + ["spot"] * 6 + ["<b>dent"] * 4
PIXELS = np.concatenate([plates(30, 1), plates(6, 2, spot=4), plates(4, 3, spot=2)])[:, None]


def mask_of(row: int) -> Array | None:
    if KINDS[row] == "good":
        return None
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[4:8, 6:10] = True
    return mask


@pytest.fixture(scope="module")
def detector() -> PCAReconstruction:
    return PCAReconstruction(n_components=3, map_score="max", calibration="holdout").fit(plates(150, 0))


@pytest.fixture(scope="module")
def scores(detector: PCAReconstruction) -> Array:
    return np.sort(detector.anomaly_score(PIXELS))[::-1]


@pytest.fixture(scope="module")
def pages(detector: PCAReconstruction, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    images = Images(PIXELS, tuple(f"{kind}/{i}.png" for i, kind in enumerate(KINDS)))
    for lang in ("en", "ko"):
        labels = [int(kind != "good") for kind in KINDS]
        render(detector, images, folder / f"{lang}.html", lang=lang, labels=labels, kinds=KINDS, mask_of=mask_of)
    return {lang: folder / f"{lang}.html" for lang in ("en", "ko")}


@pytest.fixture
def of_kind(detector: PCAReconstruction) -> Callable[[float], list[int]]:
    """How many images of each kind are beyond a cut, in the order of the page's table."""
    own = detector.anomaly_score(PIXELS)
    return lambda cut: [
        sum(score > cut for score, of in zip(own, KINDS, strict=True) if of == kind) for kind in sorted(set(KINDS))
    ]


def counts(page: Any) -> list[int]:
    return [int(page.locator(f"#explore-kind-{i}").text_content()) for i in range(3)]


def test_the_slider_goes_by_keyboard_and_counts_what_numpy_counts(
    visit: Callable[..., Any], pages: dict[str, Path], detector: PCAReconstruction, scores: Array, of_kind: Any
) -> None:
    page = visit(pages["en"])
    cut, slider, said = detector.threshold_.value, page.locator("#explore-slider"), page.locator("#explore-said")
    flagged = int((scores > cut).sum())
    assert said.text_content().startswith(f"{flagged} of 40 images")
    assert "the model's cut" in said.text_content()
    assert counts(page) == of_kind(cut)
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    moved = (scores[flagged - 4] + scores[flagged - 3]) / 2
    assert said.text_content().startswith(f"{flagged - 3} of 40 images are beyond a cut of")
    assert slider.get_attribute("aria-valuetext") == said.text_content()
    assert counts(page) == of_kind(moved)
    badges = page.locator("tr.row .badge.flagged").count()
    assert badges == min(flagged - 3, 20)
    page.keyboard.press("Home")
    assert counts(page) == [0, 0, 0]
    page.keyboard.press("End")
    assert said.text_content().startswith("40 of 40 images")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the button
    assert counts(page) == of_kind(cut)


def test_one_kind_at_a_time(visit: Callable[..., Any], pages: dict[str, Path]) -> None:
    page = visit(pages["en"])
    assert page.locator("tr.row:visible").count() == 20
    page.locator("#explore-kind").select_option("spot")
    assert page.locator("tr.row:visible").count() == 6
    assert page.locator("tr.more:visible img").count() == 6 * 5  # input, rebuilt, residual, beyond the cut, mask
    page.locator("#explore-kind").select_option("<b>dent")
    assert page.locator("tr.row:visible").count() == 4


def test_more_scores_than_fit_a_page_are_counted_without_a_slider(
    visit: Callable[..., Any], detector: PCAReconstruction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offnormal.report.explore.MOST_EXPLORED", 39)
    render(detector, PIXELS, tmp_path / "many.html", kinds=KINDS)
    page = visit(tmp_path / "many.html")
    assert "40 scores are more than the 39" in page.locator("#explore").text_content()
    assert page.locator("#explore input, script").count() == 0
    assert sum(counts(page)) == int((detector.anomaly_score(PIXELS) > detector.threshold_.value).sum())


def test_without_scripts_the_page_says_the_same_at_the_models_cut(
    visit: Callable[..., Any], pages: dict[str, Path], detector: PCAReconstruction, of_kind: Any
) -> None:
    page = visit(pages["en"], scripts=False)
    assert not page.locator("#explore-slider").is_visible()
    assert counts(page) == of_kind(detector.threshold_.value)
    assert page.locator("tr.row:visible").count() == 20


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_it_fits_and_can_be_read(
    visit: Callable[..., Any], pages: dict[str, Path], lang: str, dark: bool
) -> None:
    page = visit(pages[lang], width=375, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.evaluate("document.documentElement.lang") == lang
    for part in (
        "h1",
        ".verdict",
        "#explore p",
        "#explore label",
        "output",
        "button",
        "tr.row .badge.flagged",
        "footer p",
    ):
        assert contrast(page, part) >= 4.5, part
    headings = [int(tag[1]) for tag in page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(e => e.tagName)")]
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert page.evaluate("[...document.querySelectorAll('img')].every(image => image.alt !== '')")
    rights = page.evaluate(
        "[...document.querySelectorAll('.pictures img')].map(image => image.getBoundingClientRect().right)"
    )
    assert max(rights) <= 375


def contrast(page: Any, selector: str) -> float:
    """Return WCAG's contrast of the first such element's text and what lies behind it."""
    ink, behind = page.evaluate(
        """selector => {
            let element = document.querySelector(selector), ink = getComputedStyle(element).color;
            while (element && /, 0\\)|transparent/.test(getComputedStyle(element).backgroundColor))
                element = element.parentElement;
            return [ink, getComputedStyle(element ?? document.body).backgroundColor];
        }""",
        selector,
    )
    light, dark = sorted((luminance(ink), luminance(behind)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    parts = np.array([int(part) for part in re.findall(r"\d+", color)[:3]]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
