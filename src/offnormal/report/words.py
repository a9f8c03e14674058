"""The report's text, one language per file: `words.en.toml`, `words.ko.toml`.

Each entry is a `str.format` template; integers get thousands separators, everything else is put in as it is. The text
is plain: the template escapes it. `name_images`, where there is one, takes the place of `name` in a report on images.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources

from offnormal.errors import UnknownName

LANGUAGES = ("en", "ko")
OF_IMAGES = "_images"


def texts(lang: str) -> dict[str, str]:
    """Return every text of a language by its dotted name, e.g. "verdict.none"."""
    if lang not in LANGUAGES:
        raise UnknownName.among("report language", lang, LANGUAGES)
    content = resources.files("offnormal.report").joinpath(f"words.{lang}.toml").read_text(encoding="utf-8")
    sections: Mapping[str, Mapping[str, str]] = tomllib.loads(content)
    return {f"{section}.{name}": text for section, entries in sections.items() for name, text in entries.items()}


class Words:
    """The text of one language."""

    def __init__(self, lang: str, *, of_images: bool = False) -> None:
        self.lang = lang
        self._texts = texts(lang)
        if of_images:
            self._texts |= {
                key.removesuffix(OF_IMAGES): text for key, text in self._texts.items() if key.endswith(OF_IMAGES)
            }

    def __call__(self, key: str, **values: object) -> str:
        """Return the text of `key` with `values` put in."""
        return self._texts[key].format(**{name: _written(value) for name, value in values.items()})

    def count(self, noun: str, n: int) -> str:
        """Return a number of things: "1 row", "569 rows"."""
        return self(f"{noun}.{'one' if n == 1 else 'many'}", n=n)

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
