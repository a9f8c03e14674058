"""The report on video in a real browser: timelines, peaks, and the slider over frames."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offnormal import PCAReconstruction, Recording, score_frames
from offnormal.report import render_video
from offnormal.report.axes import Axis

LENGTH, SIDE = 4, 8
Array = np.ndarray[Any, Any]


def bar(frames: int, seed: int, *, odd: bool = False) -> Array:
    """Return (t, 1, h, w): a bar that moves right; in an odd one it jumps back at frame 30."""
    draw, time = np.random.default_rng(seed), np.arange(frames)
    if odd:
        time = np.where(time < 30, time, 60 - 2 * time)
    behind = (time[:, None] + draw.integers(0, SIDE) - np.arange(SIDE)) % SIDE
    lines = np.where(behind < 3, 220, 40)[:, None, :]
    return (lines + draw.normal(0, 4, (frames, SIDE, SIDE))).clip(0, 255).astype(np.uint8)[:, None]


FILMS = [
    Recording("quiet", bar(50, 1)),
    Recording("odd <i>", bar(60, 2, odd=True), fps=10.0),
    Recording("s", bar(3, 3)),
]
LABELS = {"odd <i>": (np.arange(60) >= 30).astype(np.int64)}


@pytest.fixture(scope="module")
def detector() -> PCAReconstruction:
    every = bar(400, 0)[:, 0]
    clips = np.lib.stride_tricks.sliding_window_view(every, LENGTH, axis=0)
    return PCAReconstruction(n_components=12, calibration="holdout").fit(np.moveaxis(clips, -1, 1)[:, None])


@pytest.fixture(scope="module")
def page_file(detector: PCAReconstruction, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("video") / "video.html"
    with pytest.warns(UserWarning, match="fewer than the 4 of a clip"):
        render_video(detector, iter(FILMS), target, labels=LABELS, top=6)
    return target


def test_timelines_peaks_and_slider(visit: Callable[..., Any], page_file: Path, detector: PCAReconstruction) -> None:
    page = visit(page_file)
    with pytest.warns(UserWarning, match="fewer than the 4 of a clip"):
        scores = {film.name: score_frames(detector, film) for film in FILMS}
    known = {name: one[np.isfinite(one)] for name, one in scores.items()}
    cut = detector.threshold_.value
    beyond = [int((known[name] > cut).sum()) for name in known if len(known[name])]
    assert [int(page.locator(f"#explore-kind-{i}").text_content()) for i in range(2)] == beyond
    assert page.locator("#films svg[role=img]:visible").count() == 2
    assert "Shorter than a clip" in page.locator("#films").text_content()
    assert page.locator("#films .wide svg .labeled").count() == 1
    runs = np.diff(np.concatenate([[False], scores["odd <i>"] > cut, [False]]).astype(int))
    assert page.locator("#films .wide >> nth=1").locator(".beyond").count() == int((runs == 1).sum())
    first = page.locator("tr.row").first.text_content()
    top = int(np.nanargmax(scores["odd <i>"]))
    assert re.search(rf"odd <i>\s*{top} \({top / 10:.2f} s\)", first)
    frames = [
        int(re.match(r"\d+", text.strip())[0]) for text in page.locator("tr.row td:nth-child(2)").all_text_contents()
    ]
    names = page.locator("tr.row th").all_text_contents()
    for name in set(names):
        own = sorted(frame for frame, of in zip(frames, names, strict=True) if of == name)
        assert all(np.diff(own) >= LENGTH)
    line, shading = page.locator("#films .wide path.threshold").first, page.locator("#films .wide .beyond").first
    own = float(re.search(r" ([\d.]+)H", line.get_attribute("d"))[1])
    assert shading.is_visible()
    page.locator("#explore-slider").focus()
    page.keyboard.press("Home")
    assert page.locator("#explore-said").text_content().startswith("0 of 104 frames")
    greatest = max(one.max() for one in known.values() if len(one))
    axis = json.loads(page.locator("#films").get_attribute("data-axis"))
    scale = Axis(*(axis[name] for name in ("low", "high", "scale", "center", "width")))
    for key, value in (("Home", greatest), ("End", -np.inf)):
        page.keyboard.press(key)
        at = float(re.search(r" ([\d.]+)H", line.get_attribute("d"))[1])
        assert at == pytest.approx(axis["top"] + axis["tall"] * (1 - float(scale.place(value))), abs=0.06)
        assert at != own
        assert not shading.is_visible()
    page.locator("#explore-reset").click()
    assert float(re.search(r" ([\d.]+)H", line.get_attribute("d"))[1]) == pytest.approx(own, abs=0.06)
    assert shading.is_visible()
    page.locator("#explore-kind").select_option("quiet")
    assert page.locator("tr.row:visible").count() == names.count("quiet")


def test_it_fits_a_phone(visit: Callable[..., Any], page_file: Path) -> None:
    page = visit(page_file, width=375, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.evaluate("[...document.querySelectorAll('img')].every(image => image.alt !== '')")
