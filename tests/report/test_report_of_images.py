"""Images in the report: where the residual lies against brute force, the color scale by its lightness, the pictures."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from offnormal import Autoencoder, Images, PCAReconstruction
from offnormal.errors import NotSupported
from offnormal.report import render
from offnormal.report.evidence import gather
from offnormal.report.images import Pictured, colors, levels, shown
from offnormal.report.words import Words
from offnormal.residual_places import DENSITY, LEAST_SHARE, places

SIDE, TOP, LEFT, EXTENT = 16, 9, 4, 5


def waves(rows: int, seed: int, *, odd: bool = False) -> np.ndarray[Any, Any]:
    """Return grey images of waves; the odd ones have a square turned to its negative."""
    draw = np.random.default_rng(seed)
    wave = np.sin(0.8 * np.arange(SIDE) + draw.uniform(0, 6, (rows, 1, 1))) * np.ones((1, SIDE, 1))
    images = (127 + 100 * wave + draw.normal(0, 4, (rows, SIDE, SIDE))).clip(0, 255).astype(np.uint8)
    if odd:
        there = (slice(None), slice(TOP, TOP + EXTENT), slice(LEFT, LEFT + EXTENT))
        images[there] = 255 - images[there]
    return images


@pytest.fixture(scope="module")
def detector() -> PCAReconstruction:
    return PCAReconstruction(n_components=3).fit(waves(60, 0))


def queried() -> Images:
    pixels = np.concatenate([waves(20, 1), waves(3, 2, odd=True)])[:, None]
    return Images(pixels, tuple(f"good/<{i}>.png" for i in range(20)) + tuple(f"odd/{i}.png" for i in range(3)))


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))


# --- places -----------------------------------------------------------------------------------------------------------


def best_rectangle(residuals: np.ndarray[Any, Any]) -> tuple[float, tuple[int, int, int, int]]:
    """Try every rectangle."""
    gains = residuals - DENSITY * residuals.mean()
    height, width = gains.shape
    every = [
        (gains[top : bottom + 1, left : right + 1].sum(), (top, bottom, left, right))
        for top in range(height)
        for bottom in range(top, height)
        for left in range(width)
        for right in range(left, width)
    ]
    return max(every)


@pytest.mark.parametrize("shape", [(7, 5), (5, 9), (1, 8)])
def test_the_first_place_is_the_best_of_all_rectangles(shape: tuple[int, int]) -> None:
    for seed in range(10):
        residuals = np.random.default_rng(seed).exponential(size=shape) ** 3
        _, (top, bottom, left, right) = best_rectangle(residuals)
        first = places(residuals, 1)[0]
        assert (first.top, first.bottom, first.left, first.right) == (top, bottom, left, right)
        inside = residuals[top : bottom + 1, left : right + 1]
        assert first.share == pytest.approx(inside.sum() / residuals.sum())
        assert first.area == pytest.approx(inside.size / residuals.size)


def test_two_spots_are_two_places_and_an_even_map_has_none() -> None:
    residuals = np.full((20, 30), 0.01)
    residuals[2:5, 3:9], residuals[12:15, 20:22] = 3.0, 2.0
    found = places(residuals, 5)
    assert [(p.top, p.bottom, p.left, p.right) for p in found] == [(2, 4, 3, 8), (12, 14, 20, 21)]
    assert len(places(residuals, 1)) == 1
    assert places(np.ones((20, 30))) == ()
    assert places(np.zeros((20, 30))) == ()
    assert places(np.full((4, 4), -1.0)) == ()


def test_places_never_overlap_and_are_worth_naming() -> None:
    residuals = np.random.default_rng(3).exponential(size=(40, 40)) ** 4
    found = places(residuals, 10)
    covered = np.zeros((40, 40), dtype=int)
    for place in found:
        covered[place.top : place.bottom + 1, place.left : place.right + 1] += 1
        assert LEAST_SHARE <= place.share <= 1
    assert len(found) >= 1
    assert covered.max() == 1


def test_a_large_map_is_exact_to_one_cell_and_stays_inside() -> None:
    residuals = np.full((300, 130), 1e-4)
    residuals[280:300, 101:130] = 1.0
    (place,) = places(residuals)
    assert 275 <= place.top <= 280
    assert (place.bottom, place.right) == (299, 129)
    assert 96 <= place.left <= 101
    assert place.share > 0.99


# --- the color scale --------------------------------------------------------------------------------------------------


def test_lightness_rises_evenly_along_the_scale() -> None:
    linear = np.where((coded := colors() / 255) <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)
    assert np.allclose(lightness, np.linspace(4, 95, 256), atol=0.8)  # 8 bits round


def test_levels_go_by_the_square_root_and_keep_within_the_scale() -> None:
    assert levels([-1.0, 0.0, 0.25, 1.0, 9.0], 1.0).tolist() == [0, 0, 128, 255, 255]
    assert levels([0.0, 0.0], 0.0).tolist() == [0, 0]


# --- the page ---------------------------------------------------------------------------------------------------------


def test_pictures_are_the_pixels_of_image_reconstruction_and_map(detector: PCAReconstruction) -> None:
    images = queried()
    evidence = gather(detector, images, top=4)
    assert {name.partition("/")[0] for name in evidence.names[:3]} == {"odd"}
    assert evidence.pictured is not None
    page = shown(evidence.pictured, evidence.names, Words("en"))
    maps, rebuilt = detector.residual_maps(images), detector.reconstruct(images)
    peak = maps[evidence.listed.rows].max()
    for entry, row in zip(page["rows"], evidence.listed.rows, strict=True):
        given, again, heat = (decoded(uri) for uri, _, _ in entry["figures"])
        assert np.array_equal(np.asarray(given), images.pixels[row, 0])
        assert np.array_equal(np.asarray(again), (rebuilt[row, 0] * 255).round())
        assert heat.mode == "P"
        assert np.allclose(np.asarray(heat), 255 * np.sqrt(maps[row] / peak), atol=0.51), "one scale for all"
    for entry, name in zip(page["rows"][:3], evidence.names, strict=False):
        place = re.match(r"rows (\d+)–(\d+), columns (\d+)–(\d+): (\d+)% of the residual", entry["places"][0])
        assert place is not None
        top, bottom, left, right, share = map(int, place.groups())
        assert max(abs(top - TOP), abs(left - LEFT)) <= 1
        assert max(abs(bottom - TOP - EXTENT + 1), abs(right - LEFT - EXTENT + 1)) <= 1
        assert share > 60
        assert all(name in alt for _, alt, _ in entry["figures"])


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_page_holds_its_pictures_and_loads_nothing(detector: PCAReconstruction, tmp_path: Path, lang: str) -> None:
    labels = [0] * 20 + [1] * 3
    render(detector, queried(), tmp_path / "report.html", labels=labels, lang=lang, top=5)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    pictures = re.findall(r"<img ([^>]*)>", source)
    assert len(pictures) == 1 + 3 * 5
    assert all(re.match(r'src="data:image/png;base64,[\w+/=]+" alt="[^"]{6,}" width="\d+"', one) for one in pictures)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in source
    assert not re.search(r"https?:|<script[^>]* src|@import|url\(", source)
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'\"" in source, "the policy allows this script alone"
    assert "good/<" not in source, "names are escaped"
    text = re.sub(r"<style>.*?</style>|<script.*?</script>|<[^>]*>", " ", source, flags=re.DOTALL)
    for said in {"en": ("23 images", "Most anomalous images"), "ko": ("이미지 23장", "이상 점수 상위 이미지")}[lang]:
        assert said in text
    assert "16×16" in text
    assert not re.search(r"Outside usual|통상 범위 밖", text), "no columns"
    settings = text.index({"en": "Hyper-parameters", "ko": "하이퍼파라미터"}[lang])  # in English, of tables too
    spoken = re.sub(r"rows [\d–]+, columns|“row”|row 열", "", text[:settings])
    assert not re.search(r"\brows?\b|(?<![가-힣])행", spoken, re.IGNORECASE), "images, not rows"


def test_arrays_floats_color_and_a_network(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pixels = draw.uniform(0, 1, (30, 8, 12, 3)).astype(np.float32)  # channels last
    network = Autoencoder(epochs=1, calibration="none").fit(pixels)
    evidence = gather(network, pixels, top=2)
    assert evidence.pictured is not None
    assert evidence.pictured.maps is not None
    assert evidence.pictured.maps.shape == (2, 8, 12)
    assert evidence.listed.ids == [[], []], "numbers are no names"
    given = decoded(shown(evidence.pictured, evidence.names, Words("en"))["rows"][0]["figures"][0][0])
    assert np.array_equal(np.asarray(given), (pixels[evidence.listed.rows[0]] * 255).round())
    render(network, pixels, tmp_path / "report.html")
    assert "in color" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_generator_of_images_that_collapsed_is_said_of_images(tmp_path: Path) -> None:
    network = Autoencoder(epochs=1, calibration="none").fit(waves(30, 0))
    network.training_["collapsed"] = True
    network.training_["history"][-1]["diversity"] = 0.0312
    for lang, said in (("en", "two images that it makes differ by 0.031"), ("ko", "학습용 두 이미지의 차이의 0.031배")):
        render(network, waves(5, 1), tmp_path / "report.html", lang=lang)
        assert (tmp_path / "report.html").read_text(encoding="utf-8").count(said) == 2, "first, and on the model card"


def test_a_method_without_maps_shows_the_images_alone(
    detector: PCAReconstruction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NotSupported("no")

    monkeypatch.setattr(PCAReconstruction, "residual_maps", refuse)
    monkeypatch.setattr(PCAReconstruction, "reconstruct", refuse)
    render(detector, queried(), tmp_path / "report.html", top=5)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert source.count("<img ") == 5
    assert "does not say which pixels" in source


@pytest.mark.parametrize(("n_images", "channels"), [(20, 3), (100, 1)])
def test_the_worst_case_stays_below_5_megabytes(n_images: int, channels: int) -> None:
    draw = np.random.default_rng(0)  # noise cannot be compressed
    noise = draw.integers(0, 256, (n_images, channels, 320, 200)).astype(np.uint8)
    found = Pictured(noise, noise, draw.uniform(0, 1, (n_images, 320, 200)).astype(np.float32), ((),) * n_images)
    page = shown(found, tuple(map(str, range(n_images))), Words("en"))
    uris = [uri for entry in page["rows"] for uri, _, _ in entry["figures"]]
    assert sum(map(len, uris)) < 5e6
    assert max(max(decoded(uri).size) for uri in uris[:3]) <= 160
    assert (page["width"], page["height"]) == (100, 160)
