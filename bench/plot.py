"""A line chart as SVG, for the figures of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

_COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed")


def line_chart(
    path: Path, title: str, x_label: str, y_label: str, series: Mapping[str, Sequence[tuple[float, float]]]
) -> None:
    """Write one chart; both axes start at zero or at the smallest x."""
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
