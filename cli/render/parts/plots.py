"""Plots as inline SVG: scales, axes, marks and labels that do not overlap. Pure text, nothing is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

INK, GREY, RULE, LIMIT = "#333", "#8a8a8a", "#e6e6e6", "#c0473a"
CHARACTER = 6.4
"""Width of a character in the units of the drawing, so that labels do not overlap."""
LINE = 13.0
STEPS = (1.0, 2.0, 5.0, 10.0)
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Values between ``low`` and ``high`` as places between ``start`` and ``end`` of the drawing."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the place of ``value``; what lies outside is drawn at the edge."""
        kept = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(kept / self.low) / math.log(self.high / self.low)
        else:
            share = (kept - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values within the scale, at most about ``most``."""
        return self._log_ticks(most) if self.log else self._linear_ticks(most)

    def _linear_ticks(self, most: int) -> list[float]:
        rough = (self.high - self.low) / most
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * step for step in STEPS if unit * step >= rough - 1e-12)
        first = math.ceil(self.low / step - 1e-9)
        return [step * count for count in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _log_ticks(self, most: int) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
            found = [step * 10.0**decade for decade in decades for step in steps]
            within = [value for value in found if self.low * 0.999 <= value <= self.high * 1.001]
            if len(within) <= most + 2:
                break
        return within


def linear(values: Sequence[float], start: float, end: float) -> Scale:
    """Return a scale from zero to a little above the largest of ``values``."""
    return Scale(low=0.0, high=max([*values, 1e-9]) * 1.08, start=start, end=end)


def logarithmic(values: Sequence[float], start: float, end: float, room: float = 1.15) -> Scale:
    """Return a logarithmic scale a little wider than ``values``, of which only positive ones count."""
    positive = [value for value in values if value > 0] or [1.0]
    return Scale(low=min(positive) / room, high=max(positive) * room, start=start, end=end, log=True)


@dataclass(kw_only=True)
class Plot:
    """A drawing: its scales and the parts drawn so far."""

    title: str
    width: float
    height: float
    x: Scale
    y: Scale
    parts: list[str] = field(default_factory=list)
    words: list[Box] = field(default_factory=list)
    marks: list[Box] = field(default_factory=list)

    def axes(self, x_label: str, y_label: str, x_text: Callable[[float], str], y_text: Callable[[float], str],
             x_ticks: Sequence[float] | None = None) -> None:  # fmt: skip
        """Draw the grid with its values, and what each axis is."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        for value in self.y.ticks(5):
            y = self.y.at(value)
            self.parts.append(f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" stroke="{RULE}"/>')
            self.text(left - 6, y + 4, y_text(value), anchor="end", colour=GREY)
        for value in self.x.ticks() if x_ticks is None else x_ticks:
            x = self.x.at(value)
            self.parts.append(f'<path d="M{x:.1f} {bottom:.1f}v4" stroke="{GREY}"/>')
            self.text(x, bottom + 17, x_text(value), anchor="middle", colour=GREY)
        self.parts.append(f'<path d="M{left:.1f} {bottom:.1f}H{right:.1f}" stroke="{GREY}"/>')
        self.text(right, bottom + 34, x_label, anchor="end", colour=INK)
        self.text(0, top - 10, y_label, colour=INK)

    def text(
        self, x: float, y: float, words: str, *, anchor: str = "start", colour: str = INK, bold: bool = False
    ) -> None:
        """Write ``words`` and remember the place."""
        width = CHARACTER * len(words) * (1.1 if bold else 1.0)
        left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        self.words.append((left, y - LINE + 3, left + width, y + 3))
        weight = ' font-weight="bold"' if bold else ""
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        self.parts.append(f'<text {place} fill="{colour}"{weight}>{escape(words)}</text>')

    def label(self, x: float, y: float, words: str, *, colour: str = INK, bold: bool = False) -> bool:
        """Write ``words`` next to the mark at (x, y) without overlapping anything, or at least no text; else False."""
        width = CHARACTER * len(words) * (1.1 if bold else 1.0)
        places = [(x - 8 - width, y + 15), (x - width / 2, y + 21), (x + 10, y + 4), (x + 8, y + 17), (x + 8, y - 9),
                  (x - 10 - width, y + 4), (x - 8 - width, y - 9), (x - width / 2, y - 12)]  # fmt: skip
        for obstacles in ([*self.words, *self.marks], self.words):
            for left, base in places:
                box = (left, base - LINE + 3, left + width, base + 3)
                if self._inside(box) and not any(_overlap(box, other) for other in obstacles):
                    self.text(left, base, words, colour=colour, bold=bold)
                    return True
        return False

    def _inside(self, box: Box) -> bool:
        inside = box[0] >= self.x.start and box[2] <= self.width
        return inside and box[1] >= self.y.end - 6 and box[3] <= self.y.start

    def dot(
        self, x: float, y: float, *, colour: str, hollow: bool = False, radius: float = 3.4, tooltip: str = ""
    ) -> None:
        """Draw a mark at a place; ``tooltip`` is its ``<title>``."""
        fill = "#fff" if hollow else colour
        title = f"<title>{escape(tooltip)}</title>" if tooltip else ""
        shape = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{fill}" stroke="{colour}" stroke-width="1.4"'
        self.parts.append(f"<circle {shape}>{title}</circle>")
        self.marks.append((x - radius, y - radius, x + radius, y + radius))

    def line(self, places: Sequence[tuple[float, float]], *, colour: str, width: float = 1.6, dash: str = "") -> None:
        """Draw straight lines through places."""
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dashed}/>'
        )

    def area(self, places: Sequence[tuple[float, float]], *, colour: str, opacity: float, tooltip: str = "") -> None:
        """Fill the shape with these corners."""
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        title = f"<title>{escape(tooltip)}</title>" if tooltip else ""
        self.parts.append(f'<polygon points="{points}" fill="{colour}" fill-opacity="{opacity:g}">{title}</polygon>')

    def across(self, value: float, words: str, *, colour: str, dash: str = "5 4") -> None:
        """Draw a level over the whole width, named at its right end where there is room."""
        y = self.y.at(value)
        self.line([(self.x.start, y), (self.x.end, y)], colour=colour, width=1.2, dash=dash)
        width = CHARACTER * len(words)
        for right in (self.x.end, self.x.end - width - 16, self.x.start + width + 4):
            for base in (y - 4, y + 13):
                box = (right - width, base - LINE + 3, right, base + 3)
                if not any(_overlap(box, other) for other in self.words):
                    self.text(right, base, words, anchor="end", colour=colour)
                    return

    def upright(self, value: float, words: str, *, colour: str) -> None:
        """Draw a value over the whole height, named at the top."""
        x = self.x.at(value)
        self.line([(x, self.y.start), (x, self.y.end)], colour=colour, width=1.2, dash="5 4")
        self.text(x, self.y.end - 10, words, anchor="middle" if x < self.x.end - 60 else "end", colour=colour)

    def svg(self) -> str:
        """Return the drawing."""
        head = f'<svg role="img" aria-label="{escape(self.title)}" viewBox="0 0 {self.width:g} {self.height:g}">'
        return head + "".join(self.parts) + "</svg>"


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
