"""Draw measurements as SVG pictures."""

from __future__ import annotations

import math
from html import escape

from .growth import GOAL, OPERATIONS, SIZES, Growth
from .load import Load
from .sites import Match

_WIDTH, _HEIGHT = 760, 400
_TOP, _BOTTOM = 92, 316
# The left and right edge of each panel.
_PANELS = ((70, 370), (430, 730))

# The picture of bars: its left and right edge, the first row, and the heights of a row
# and of a group of rows.
_LEFT, _RIGHT = 250, 690
_FIRST, _ROW, _GROUP = 70, 22, 106

# The browser's setting chooses the colours. An image cannot read the page's setting.
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .panel { font-weight: 600; }
  .small { font-size: 12px; fill: #57606a; }
  .paper { fill: #ffffff; }
  .grid { stroke: #d0d7de; stroke-width: 1; }
  .goal { stroke: #57606a; stroke-width: 1.5; stroke-dasharray: 5 4; }
  .peer { stroke: #1f2328; stroke-width: 1.5; }
  .line { fill: none; stroke-width: 2.5; }
  .s0 { stroke: #c2410c; } .d0 { fill: #c2410c; }
  .s1 { stroke: #1d4ed8; } .d1 { fill: #1d4ed8; }
  .s2 { stroke: #15803d; } .d2 { fill: #15803d; }
  .s3 { stroke: #7e22ce; } .d3 { fill: #7e22ce; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9da7b3; }
    .paper { fill: #0d1117; }
    .grid { stroke: #30363d; }
    .goal { stroke: #9da7b3; }
    .peer { stroke: #e6edf3; }
    .s0 { stroke: #fb923c; } .d0 { fill: #fb923c; }
    .s1 { stroke: #79b8ff; } .d1 { fill: #79b8ff; }
    .s2 { stroke: #4ade80; } .d2 { fill: #4ade80; }
    .s3 { stroke: #d8b4fe; } .d3 { fill: #d8b4fe; }
  }
"""


def growth_svg(measured: dict[str, Growth]) -> str:
    """Return the picture of how stores grow.

    :param measured: the growth of up to four stores, by their names.
    """
    highest = max(
        ratio
        for growth in measured.values()
        for ratios in growth.values()
        for ratio in ratios.values()
    )
    top = max(1.5, math.ceil(highest * 4) / 4)
    parts = [
        part
        for operation, (left, right) in zip(OPERATIONS, _PANELS, strict=True)
        for part in _panel(operation, measured, left, right, top)
    ]
    title = "Time of one operation, by the number of sessions in the store"
    return _picture(title, _HEIGHT, [*parts, *_legend(list(measured))])


def load_svg(measured: list[tuple[Match, dict[str, Load]]]) -> str:
    """Return the picture of requests a second, ours divided by the peer's. Each bar
    begins at 1, and each line of the grid stands for twice as much as the line before.
    """
    ratios = [load.requests.value for _, loads in measured for load in loads.values()]
    low = min(-1, math.floor(math.log2(min(ratios))))
    high = max(2, math.ceil(math.log2(max(ratios))))

    def x(ratio: float) -> float:
        return _LEFT + (math.log2(ratio) - low) / (high - low) * (_RIGHT - _LEFT)

    bottom = _FIRST + len(measured) * _GROUP - 10
    parts = []
    for power in range(low, high + 1):
        across = x(2.0**power)
        parts.append(_line(across, _FIRST - 10, across, bottom, "grid"))
        parts.append(_text(across, bottom + 18, f"{2.0**power:g}", "small"))
    for number, (match, loads) in enumerate(measured):
        top = _FIRST + number * _GROUP
        parts.append(_text(24, top + 13, match.title, "panel", "start"))
        parts.append(_text(24, top + 31, f"against {match.other}", "small", "start"))
        for row, (case, load) in enumerate(loads.items()):
            down = top + row * _ROW
            ratio = load.requests.value
            left, right = sorted((x(1), x(ratio)))
            parts.append(
                f'<rect class="d{row}" x="{left:.1f}" y="{down:.1f}"'
                f' width="{right - left:.1f}" height="{_ROW - 6}"/>'
            )
            parts.append(_text(_LEFT - 10, down + 13, case, "", "end"))
            shown = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2f}"
            parts.append(_text(right + 6, down + 13, shown, "small", "start"))
    parts.append(_line(x(1), _FIRST - 10, x(1), bottom, "peer"))
    title = "Requests a second, compared with other sessions"
    return _picture(title, bottom + 36, parts)


def _picture(title: str, height: float, parts: list[str]) -> str:
    body = "\n".join(
        [
            f'<rect class="paper" width="{_WIDTH}" height="{height}" rx="8"/>',
            _text(_WIDTH / 2, 32, title, "title"),
            *parts,
        ]
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        f' width="{_WIDTH}" height="{height}" role="img" aria-labelledby="title">\n'
        f'<title id="title">{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n{body}\n</svg>\n"
    )


def _panel(
    operation: str, measured: dict[str, Growth], left: float, right: float, top: float
) -> list[str]:
    def x(size: int) -> float:
        low, high = math.log(SIZES[0]), math.log(SIZES[-1])
        return left + (math.log(size) - low) / (high - low) * (right - left)

    def y(ratio: float) -> float:
        return _BOTTOM - ratio / top * (_BOTTOM - _TOP)

    parts = [_text((left + right) / 2, _TOP - 22, operation, "panel")]
    step = 0.5 if top <= 3 else math.ceil(top / 6)
    for number in range(int(top / step) + 1):
        value = number * step
        parts.append(_line(left, y(value), right, y(value), "grid"))
        parts.append(_text(left - 8, y(value) + 4, f"{value:.1f}", "small", "end"))
    for size in SIZES:
        parts.append(_line(x(size), _TOP, x(size), _BOTTOM, "grid"))
        parts.append(_text(x(size), _BOTTOM + 18, f"{size:,}", "small"))
    parts.append(_text((left + right) / 2, _BOTTOM + 38, "sessions", "small"))
    parts.append(_line(left, y(GOAL), right, y(GOAL), "goal"))
    if left == _PANELS[0][0]:
        middle = (_TOP + _BOTTOM) / 2
        label = f"times the time among {SIZES[0]:,}"
        turned = f' transform="rotate(-90 22 {middle:.0f})"'
        parts.append(_text(22, middle, label, "small", more=turned))
    for number, growth in enumerate(measured.values()):
        points = [(x(size), y(ratio)) for size, ratio in growth[operation].items()]
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
        parts.append(f'<polyline class="line s{number}" points="{path}"/>')
        parts += [
            f'<circle class="d{number}" cx="{across:.1f}" cy="{down:.1f}" r="4"/>'
            for across, down in points
        ]
    return parts


def _legend(names: list[str]) -> list[str]:
    width = 140
    left = (_WIDTH - width * (len(names) + 1)) / 2
    down = _HEIGHT - 22
    parts = []
    for number, name in enumerate(names):
        start = left + number * width
        parts.append(_line(start, down, start + 28, down, f"line s{number}"))
        parts.append(_text(start + 36, down + 4, name, "", "start"))
    start = left + len(names) * width
    parts.append(_line(start, down, start + 28, down, "goal"))
    parts.append(_text(start + 36, down + 4, f"goal: at most {GOAL}", "", "start"))
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line class="{kind}" {ends}/>'


def _text(
    x: float, y: float, text: str, kind: str, anchor: str = "middle", more: str = ""
) -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>'
        f"{escape(text)}</text>"
    )
