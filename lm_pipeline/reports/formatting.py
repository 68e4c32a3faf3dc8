"""Numbers as people read them. A value that was not measured (None) is shown as an en dash, never as zero."""

import math

NOTHING = "–"


def integer(value: float | None) -> str:
    """A count with thousands separators.

    >>> integer(1234567), integer(None)
    ('1,234,567', '–')
    """
    return NOTHING if value is None else f"{round(value):,}"


def decimal(value: float | None, digits: int = 3) -> str:
    """A number with a fixed number of decimals.

    >>> decimal(1.23456), decimal(float("inf"))
    ('1.235', '∞')
    """
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return "∞" if value > 0 else "not a number"
    return f"{value:,.{digits}f}"


def number(value: float | None, digits: int = 4) -> str:
    """A number that may be a count: without decimals where it has none.

    >>> number(12.0), number(0.31256), number(None)
    ('12', '0.3126', '–')
    """
    return integer(value) if value is None or value == round(value) else decimal(value, digits)


def measured(value: float | None, threshold: float | None) -> str:
    """What a rule measured on a document that it rejects, and on which side of it kept ones are.

    >>> measured(12, 50), measured(0.35, 0.3), measured(0.98, None), measured(None, None)
    ('12, at least 50 is kept', '0.3500, at most 0.3000 is kept', '0.9800', '')
    >>> measured(0.29998, 0.3), measured(0.3, 0.3)  # what is told has seven digits
    ('0.29998, at least 0.30000 is kept', '0.3000, just beyond 0.3000')
    """
    if value is None or threshold is None:
        return "" if value is None else number(value)
    if value == threshold:
        return f"{number(value)}, just beyond {number(threshold)}"
    side = "least" if value < threshold else "most"
    digits = next(digits for digits in range(4, 400) if number(value, digits) != number(threshold, digits))
    return f"{number(value, digits)}, at {side} {number(threshold, digits)} is kept"


def perplexity(value: float | None) -> str:
    """A perplexity with about four significant digits.

    >>> perplexity(71.234), perplexity(523.14), perplexity(12345.6)
    ('71.23', '523.1', '12,346')
    """
    if value is None:
        return NOTHING
    return decimal(value, 2 if value < 100 else 1 if value < 10_000 else 0)


def interval(bounds: list[float] | tuple[float, float] | None, digits: int = 3) -> str:
    """The two ends of an interval.

    >>> interval([1.2, 1.3456])
    '1.200 – 1.346'
    """
    return NOTHING if not bounds else f"{decimal(bounds[0], digits)} – {decimal(bounds[1], digits)}"


def perplexity_interval(bounds: list[float] | tuple[float, float] | None) -> str:
    """The two ends of an interval of perplexities.

    >>> perplexity_interval([98.91, 102.2])
    '98.91 – 102.2'
    """
    return NOTHING if not bounds else f"{perplexity(bounds[0])} – {perplexity(bounds[1])}"


def share(part: float, whole: float) -> str:
    """A part as a percentage; a small but present part never reads as zero, nor an incomplete one as all.

    >>> share(1, 8), share(1, 100000), share(99999, 100000), share(0, 5), share(5, 5), share(1, 0)
    ('12.5 %', '< 0.1 %', '> 99.9 %', '0 %', '100 %', '–')
    """
    if not whole:
        return NOTHING
    percent = 100 * part / whole
    if part == 0:
        return "0 %"
    if part == whole:
        return "100 %"
    if percent < 0.1:
        return "< 0.1 %"
    return "> 99.9 %" if 99.9 < percent < 100 else f"{percent:.1f} %"


def compact(value: float | None) -> str:
    """A large count in three digits.

    >>> compact(950), compact(1234), compact(1_234_567), compact(999_999), compact(2.5e10), compact(1.5)
    ('950', '1.23 k', '1.23 M', '1.00 M', '25.0 G', '1.5')
    """
    if value is None:
        return NOTHING
    for power, unit in ((1, " k"), (2, " M"), (3, " G"), (4, " T")):
        scaled = value / 1000**power
        if abs(value) >= 999.5 * 1000 ** (power - 1) and (abs(scaled) < 999.5 or power == 4):
            digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
            return f"{scaled:.{digits}f}{unit}"
    return f"{value:g}" if abs(value) < 1 else f"{value:.3g}"


def size(num_bytes: float | None) -> str:
    """A size in bytes, decimal units.

    >>> size(12), size(34_000_000)
    ('12 B', '34.0 MB')
    """
    if num_bytes is None:
        return NOTHING
    text = compact(num_bytes)
    return f"{text}B" if " " in text else f"{text} B"


def duration(seconds: float | None) -> str:
    """Wall-clock time.

    >>> duration(0.25), duration(9.61), duration(133), duration(3725), duration(59.96)
    ('0.25 s', '9.6 s', '2 min 13 s', '1 h 02 min', '1 min 00 s')
    """
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{seconds:.2f} s"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plain(value: object) -> str:
    """A setting as a person would write it.

    >>> plain(True), plain(None), plain(0.001), plain((0.9, 0.99)), plain({"kind": "path"}), plain("x")
    ('yes', 'none', '0.001', '0.9, 0.99', 'kind: path', 'x')
    """
    if value is None or value in ("", [], (), {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {plain(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return str(value)
