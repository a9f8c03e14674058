"""Numbers as people read them: thousands separators, few digits, powers of ten written out."""

from __future__ import annotations

import math

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LARGE, _SMALL = 1e6, 1e-5


def number(value: float | None, digits: int = 3) -> str:
    """Return `value` with about `digits` significant digits: "1,235", "0.0123", "2.5×10⁻⁷"; a dash for nothing."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if abs(value) < _SMALL or abs(value) >= _LARGE:
        return _scientific(value, digits)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return _plain(value, decimals)


def tick(value: float, step: float) -> str:
    """Return the label of an axis tick, with no more digits than `step` needs."""
    if value == 0:
        return "0"
    power = math.floor(math.log10(step) + 1e-9)
    digits = max(1, math.floor(math.log10(abs(value)) + 1e-9) - power + 1)
    if (abs(value) >= _LARGE or step < _SMALL) and digits <= 4:
        return _scientific(value, digits)
    return _plain(value, max(0, -power))


def percent(share: float | None) -> str:
    """Return a share of one as a percentage: "2.1%", "0.034%", ">99.9%"."""
    if share is None or math.isnan(share):
        return "–"
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    if 0.999 < share < 1:
        return ">99.9%"
    return f"{number(100 * share, 2 if abs(share) < 0.1 else 3)}%"


def tenths(share: float) -> str:
    """Return a share of one in tenths of a percent, for columns of shares: "48.4%", "<0.1%"."""
    if 0 < abs(share) < 0.0005:
        return "<0.1%" if share > 0 else "−<0.1%"
    return f"{100 * share:.1f}%".replace("-", "−")


def measure(value: float) -> str:
    """Return a measure between 0 and 1 with three decimals; a dash where it is undefined."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def _plain(value: float, decimals: int) -> str:
    text = f"{value:,.{decimals}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "0") else text.replace("-", "−")


def _scientific(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{max(0, digits - 1)}e}".split("e")
    mantissa = (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa).replace("-", "−")
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return {"1": power, "−1": f"−{power}"}.get(mantissa, f"{mantissa}×{power}")
