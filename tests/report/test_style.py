"""Colors of the style sheet, by the contrast formula of WCAG 2."""

from __future__ import annotations

import re
from importlib import resources

import pytest


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colors_have_the_contrast_wcag_asks(scheme: int) -> None:
    style = resources.files("offnormal.report").joinpath("style.css").read_text(encoding="utf-8")
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", style.split(":root {")[scheme + 1].split("}")[0]))
    for front, back in [
        ("ink", "card"), ("ink", "page"), ("soft", "card"), ("soft", "page"), ("accent", "card"), ("accent", "page"),
        ("flag", "card"), ("flag", "flag-bg"), ("soft", "quiet-bg"), ("ink", "quiet-bg"),
    ]:  # fmt: skip
        assert contrast(colors[front], colors[back]) >= 4.5, (front, back)
    for mark in ("bar-flag", "s1", "s2", "s3", "s4", "s5", "dots", "outline"):
        assert contrast(colors[mark], colors["card"]) >= 3, mark
