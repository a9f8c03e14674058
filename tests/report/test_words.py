"""The texts of the languages, against each other and against their use."""

from __future__ import annotations

import re
import string
from importlib import resources

import numpy as np

from offnormal.report.words import OF_FRAMES, OF_IMAGES, Words, texts
from offnormal.thresholds import discovery_note, parse_rule, promise

EN, KO = texts("en"), texts("ko")
ROW = {"en": r"\brows?\b", "ko": r"(?<![가-힣])행"}
SAME_IN_BOTH = {"data.commonest", "data.range", "evaluation.auroc", "page.of"}


def test_both_languages_say_the_same_things() -> None:
    assert list(EN) == list(KO)
    for key, template in EN.items():
        fields = {field for _, field, _, _ in string.Formatter().parse(template) if field}
        assert {field for _, field, _, _ in string.Formatter().parse(KO[key]) if field} <= fields, key
    assert not [key for key, text in KO.items() if key not in SAME_IN_BOTH and not re.search("[가-힣]", text)]


def test_every_text_is_used() -> None:
    folder = resources.files("offnormal.report")
    sources = "".join(
        file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith((".py", ".j2"))
    )
    built = re.findall(r'f"([a-z_]+\.[a-z_]*)\{', sources)  # "kind.{…}" uses every text that begins so
    unused = [
        key
        for key in {key.removesuffix(OF_IMAGES).removesuffix(OF_FRAMES) for key in EN}
        if not re.search(f"[\"']{re.escape(key)}[\"']", sources)
        and not key.startswith((*built, "row.", "column."))
        and not (key.startswith("evaluation.") and key.endswith("_means"))
    ]
    assert not unused


def test_a_report_on_images_has_its_own_words_where_there_are_some() -> None:
    for lang, rows, images in (("en", "2 rows", "2 images"), ("ko", "2개 행", "이미지 2장")):
        assert Words(lang).count("row", 2) == rows
        assert Words(lang, of_images=True).count("row", 2) == images
        assert Words(lang, of_images=True)("answer.yes") == Words(lang)("answer.yes")
        own = Words(lang, of_images=True)
        for key, text in texts(lang).items():
            base = key.removesuffix(OF_IMAGES)
            if base != key:
                assert base in texts(lang), key
                assert own.known(base, "") == text
    for lang, row in ROW.items():
        own_texts = {key: text for key, text in texts(lang).items() if key.endswith(OF_IMAGES)}
        said = {key: re.sub(r"{\w+}", "", text) for key, text in own_texts.items() if "offnormal score" not in text}
        assert not [key for key, text in said.items() if re.search(row, text, re.IGNORECASE)]


def test_texts_from_elsewhere_speak_of_images_too() -> None:
    scores = np.random.default_rng(0).normal(size=2_000)
    rules = ("conformal:0.01", "quantile:0.99", "mad:3.5", "pot:0.001", "fixed:9", "contamination:0.05")
    for lang, image in (("en", "images"), ("ko", "이미지")):
        words = Words(lang, of_images=True)
        texts_on_rows = [
            *(promise(parse_rule(rule).cut(scores, scores), lang, folds=True) for rule in rules),
            *(discovery_note(n, 50, 0.1, lang) for n in (5, 100, 2_000)),
            *(text for key, text in texts(lang).items() if key.startswith("about.")),
        ]
        for text in texts_on_rows:
            said = words.on_rows(text)
            assert not re.search(f"{ROW[lang]}|\\ba image", said, re.IGNORECASE), said
            assert Words(lang).on_rows(text) == text
        assert all(image in words.on_rows(text) for text in texts_on_rows[: len(rules)])


def test_long_spans_are_said_in_two_units() -> None:
    words = Words("en")
    assert [words.duration(s) for s in (3.21, 83.2, 3_725)] == ["3.2 s", "1 min 23 s", "1 h 2 min"]
