"""A line chart as SVG, for the figures of docs/benchmarks.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

_COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed")


def line_chart(
    path: Path,
    title: str,
    x_label: str,
    y_label: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    log: bool = False,
) -> None:
    """Write one chart; both axes start at zero or at the smallest x; with `log` both are logarithmic."""
    if log:
        _log_chart(path, title, x_label, y_label, series)
        return
    width, height, left, bottom, top = 720, 360, 70, 50, 40
    points = [p for line in series.values() for p in line]
    x0, x1 = min(p[0] for p in points), max(p[0] for p in points) or 1
    y1 = max(p[1] for p in points) * 1.1 or 1

    def at(x: float, y: float) -> str:
        px = left + (x - x0) / ((x1 - x0) or 1) * (width - left - 20)
        py = height - bottom - y / y1 * (height - bottom - top)
        return f"{px:.1f},{py:.1f}"

    text = 'font-family="sans-serif" font-size="12" fill="#444"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="22" font-family="sans-serif" font-size="15" fill="#111">{escape(title)}</text>',
        f'<text x="{width / 2}" y="{height - 10}" {text}>{escape(x_label)}</text>',
        f'<text x="8" y="{top - 6}" {text}>{escape(y_label)}</text>',
    ]
    for i in range(5):
        y = y1 * i / 4
        px, py = at(x0, y).split(",")
        out.append(f'<line x1="{px}" y1="{py}" x2="{width - 20}" y2="{py}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 8}" y="{py}" text-anchor="end" {text}>{y:,.4g}</text>')
        x = x0 + (x1 - x0) * i / 4
        out.append(
            f'<text x="{at(x, 0).split(",")[0]}" y="{height - bottom + 18}" text-anchor="middle" {text}>{x:,.4g}</text>'
        )
    for i, (name, line) in enumerate(series.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        out.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(at(*p) for p in line)}"/>'
        )
        out.append(f'<text x="{width - 200}" y="{top + 16 * i}" {text.replace("#444", colour)}>{escape(name)}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*out, "</svg>"]) + "\n", "utf-8")


def _log_chart(
    path: Path, title: str, x_label: str, y_label: str, series: Mapping[str, Sequence[tuple[float, float]]]
) -> None:
    """Both axes by powers of ten."""
    width, height, left, bottom, top, right = 720, 400, 70, 50, 40, 170
    points = [p for line in series.values() for p in line]
    x0, x1 = (f(math.log10(p[0]) for p in points) for f in (min, max))
    y0, y1 = (f(math.log10(p[1]) for p in points) for f in (min, max))
    x0, x1, y0, y1 = math.floor(x0), math.ceil(x1), math.floor(y0), math.ceil(y1)

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + (math.log10(x) - x0) / max(1, x1 - x0) * (width - left - right),
            height - bottom - (math.log10(y) - y0) / max(1, y1 - y0) * (height - bottom - top),
        )

    text = 'font-family="sans-serif" font-size="12" fill="#444"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="22" font-family="sans-serif" font-size="15" fill="#111">{escape(title)}</text>',
        f'<text x="{(width - right + left) / 2}" y="{height - 10}" {text}>{escape(x_label)}</text>',
        f'<text x="8" y="{top - 6}" {text}>{escape(y_label)}</text>',
    ]
    for power in range(y0, y1 + 1):
        _, py = at(10**x0, 10.0**power)
        out.append(f'<line x1="{left}" y1="{py:.1f}" x2="{width - right}" y2="{py:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 8}" y="{py + 4:.1f}" text-anchor="end" {text}>{10.0**power:,.10g}</text>')
    for power in range(x0, x1 + 1):
        px, _ = at(10.0**power, 10.0**y0)
        out.append(
            f'<text x="{px:.1f}" y="{height - bottom + 18}" text-anchor="middle" {text}>{10.0**power:,.10g}</text>'
        )
    ends = []
    for i, (name, line) in enumerate(series.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        spots = [at(x, y) for x, y in line]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{joined}"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots]
        ends.append((spots[-1][1], name, line[-1][1], colour))
    y = 0.0
    for end, name, value, colour in sorted(ends):  # names beside the ends of their lines, one below the other
        y = max(y + 15, end + 4)
        label = f"{name}: {value:,.3g} {y_label}"
        out.append(f'<text x="{width - right + 8}" y="{y:.1f}" {text.replace("#444", colour)}>{escape(label)}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*out, "</svg>"]) + "\n", "utf-8")
