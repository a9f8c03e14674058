"""The report's text, one language per file: `words.en.toml`, `words.ko.toml`.

Each entry is a `str.format` template; integers get thousands separators, everything else is put in as it is. The text
is plain: the template escapes it. `name_images`, where there is one, takes the place of `name` in a report on images,
`name_frames` in one on video.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib import resources

from offnormal.errors import UnknownName

LANGUAGES = ("en", "ko")
OF_IMAGES, OF_FRAMES = "_images", "_frames"
_AFTER_IMAGES = {"은": "는", "이": "가", "을": "를", "과": "와", "이라": "라"}
"""Korean particles behind a consonant, as in 행, and behind a vowel, as in 이미지."""


def speaking_of(noun: str, text: str, lang: str = "en") -> str:
    """Return a text on rows as one on what a row is here; texts on cuts and methods are written once, for tables.

    Parameters
    ----------
    noun : str
        "row", "image" or "clip"; in Korean only the first two.

    >>> speaking_of("image", "A row in 20 is flagged; 1,234 rows were not.")
    'An image in 20 is flagged; 1,234 images were not.'
    >>> speaking_of("image", "정상 행은 20행 중 1행이", "ko")
    '정상 이미지는 20장 중 1장이'
    """
    if noun == "row":
        return text
    if lang == "ko":
        return _of_images_in_korean(text)
    if noun[0] in "aeiou":
        text = re.sub(r"\b([Aa]) (?=row\b)", r"\1n ", text)
    for old, new in (("row", noun), ("Row", noun.capitalize())):
        text = re.sub(rf"\b{old}(?=s?\b)", new, text)
    return text.replace("of the table", f"of the {noun}s")


def _of_images_in_korean(text: str) -> str:
    text = re.sub(r"(?<=\d)행|(?<=\b한 )행", "장", text)  # images have a counter of their own
    text = text.replace("이 행 수", "이 장수").replace("표의 일부", "이미지 일부")
    particle = "|".join(sorted(_AFTER_IMAGES, key=len, reverse=True))
    return re.sub(
        rf"(?<![가-힣])행(?:({particle})(?![가-힣]))?",
        lambda found: "이미지" + _AFTER_IMAGES.get(found[1] or "", ""),
        text,
    )


def texts(lang: str) -> dict[str, str]:
    """Return every text of a language by its dotted name, e.g. "verdict.none"."""
    if lang not in LANGUAGES:
        raise UnknownName.among("report language", lang, LANGUAGES)
    content = resources.files("offnormal.report").joinpath(f"words.{lang}.toml").read_text(encoding="utf-8")
    sections: Mapping[str, Mapping[str, str]] = tomllib.loads(content)
    return {f"{section}.{name}": text for section, entries in sections.items() for name, text in entries.items()}


class Words:
    """The text of one language."""

    def __init__(self, lang: str, *, of_images: bool = False, of_frames: bool = False) -> None:
        self.lang = lang
        self._noun = "image" if of_images else "row"
        self._texts = texts(lang)
        for suffix in (*([OF_IMAGES] if of_images else []), *([OF_FRAMES] if of_frames else [])):
            self._texts |= {key.removesuffix(suffix): text for key, text in self._texts.items() if key.endswith(suffix)}

    def __call__(self, key: str, **values: object) -> str:
        """Return the text of `key` with `values` put in."""
        return self._texts[key].format(**{name: _written(value) for name, value in values.items()})

    def count(self, noun: str, n: int) -> str:
        """Return a number of things: "1 row", "569 rows"."""
        return self(f"{noun}.{'one' if n == 1 else 'many'}", n=n)

    def on_rows(self, text: str) -> str:
        """Return a text on rows that came from elsewhere; in a report on images as one on images."""
        return speaking_of(self._noun, text, self.lang)

    def known(self, key: str, otherwise: str) -> str:
        """Return the text of `key`, or `otherwise` where this language has none."""
        return self._texts.get(key, otherwise)

    def duration(self, seconds: float) -> str:
        """Return a time span in the two greatest units that matter."""
        if seconds < 60:
            return self("time.seconds", s=f"{seconds:.1f}")
        minutes, rest = divmod(round(seconds), 60)
        if minutes < 60:
            return self("time.minutes", m=minutes, s=rest)
        return self("time.hours", h=minutes // 60, m=minutes % 60)


def _written(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
