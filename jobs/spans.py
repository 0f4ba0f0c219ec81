"""Spans of time in units that a person reads."""

UNITS = (("day", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def readable(seconds: float) -> str:
    """Two digits at most, in the largest unit of which there is one or more: 8 min, 1.5 h, 19 h, 3 days."""
    for unit, size in UNITS:
        if seconds >= 0.95 * size:
            value = seconds / size
            text = f"{value:.0f}" if unit == "s" or value >= 9.5 else f"{value:.1f}".removesuffix(".0")
            return f"{text} {unit}{'s' if unit == 'day' and text != '1' else ''}"
    return "1 s" if seconds > 0 else "0 s"
