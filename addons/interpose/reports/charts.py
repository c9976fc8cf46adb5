"""Charts over time, as SVG that takes its colours from the page and needs neither a script nor a style of its own.

pygal draws them. What it adds for pages of another kind (a style sheet, a script, attributes of style, which a
Content-Security-Policy forbids) is taken out again, and what a mouse shows is put in as SVG's own titles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from markupsafe import Markup

# For pages of a screen's width and for those of a phone's: text does not shrink with them.
WIDE = (1100, 300)
NARROW = (360, 240)
# What a label of the axis takes, in the units of those.
_LABEL = 64
# What pygal is told about type: it keeps room for labels by it. How they look is the page's.
_SIZE = 12
_FOREIGN = ("defs", "title", "script", "style")
_STYLING = frozenset(("style", "rx", "ry"))
_DROPPED = ("plot text-overlay", "plot tooltip-overlay", "titles")
_LENGTHS = frozenset(("x", "y", "width", "height", "cx", "cy", "d"))
_DIGITS = re.compile(r"\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Series:
    """A name, the class of its colour, and its value at each place (None where there is none)."""

    name: str
    colour: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """What a chart shows: `labels` along the axis, and `said` makes text of a value. `stacked` bars, or else lines."""

    title: str
    about: str
    labels: Sequence[str]
    series: Sequence[Series]
    said: Callable[[float], str]
    stacked: bool = True

    def svg(self, size: tuple[int, int]) -> Markup:
        """The chart, of that width and height; it scales. What it says is also in the table that stands by it."""
        import pygal

        width, height = size
        kind = pygal.StackedBar if self.stacked else pygal.Line
        chart = kind(
            width=width, height=height, js=(), css=(), no_prefix=True, disable_xml_declaration=True, classes=(),
            style=pygal.style.Style(label_font_size=_SIZE, major_label_font_size=_SIZE),
            show_legend=False, show_minor_x_labels=False, truncate_label=-1, margin=4, margin_right=16, spacing=8,
            value_formatter=self._axis(), allow_interruptions=True, dots_size=2, include_x_axis=True, max_scale=6,
        )  # fmt: skip
        chart.x_labels = list(map(str, range(len(self.labels))))
        step = max(1, -(-len(self.labels) * _LABEL // (width - 60)))
        chart.x_labels_major = chart.x_labels[::step]
        for series in self.series:
            chart.add(series.name, list(series.values))
        chart.add_xml_filter(lambda root: self._clean(root, wide=size == WIDE))
        drawn: str = chart.render(is_unicode=True)
        return Markup(drawn)  # noqa: S704 - pygal escapes what it is given, and of names only titles are made

    def _axis(self) -> Callable[[float], str]:
        return lambda value: self.said(value) if value else "0"

    def _clean(self, root: Element, *, wide: bool) -> Element:
        for name in ("id", "class"):
            root.attrib.pop(name, None)
        root.attrib |= {"role": "img", "aria-label": f"{self.title}: {self.about}"}
        _prune(root)
        for group in root.iter("g"):
            kind = group.get("class", "").split()
            if kind[:1] == ["series"]:
                series = self.series[int(kind[1].removeprefix("serie-"))]
                group.set("class", f"series {series.colour}")
                # Where there is no mouse, titles are not seen.
                _marks(group, series, self.labels, self.said if wide else None)
            elif kind == ["axis", "x"]:
                for text in group.iter("text"):
                    text.text = self.labels[int(text.text or 0)]
        for element in root.iter():
            for name in _LENGTHS & element.attrib.keys():
                element.set(name, _DIGITS.sub(_short, element.attrib[name]))
        return root


def _short(number: re.Match[str]) -> str:
    """A tenth of a unit is as fine as anybody sees."""
    return f"{float(number[0]):.1f}".removesuffix(".0")


def _prune(parent: Element) -> None:
    """Leaves out what is for another kind of page, and what is not to be seen."""
    for child in list(parent):
        # Of a comment, the tag is a function.
        dropped = callable(child.tag) or child.tag in _FOREIGN or child.get("class") in _DROPPED
        if not dropped:
            for name in _STYLING & child.attrib.keys():
                del child.attrib[name]
            _prune(child)
        if dropped or (child.tag == "g" and len(child) == 0) or float(child.get("height", 1)) == 0:
            parent.remove(child)


def _marks(parent: Element, series: Series, labels: Sequence[str], said: Callable[[float], str] | None) -> None:
    """Each value's mark (a bar, a dot) with its title, in the place of a group with what a script would read."""
    for number, part in enumerate(list(parent)):
        place = next((child.text for child in part if child.get("class") == "x_label"), None)
        mark = next((child for child in part if child.tag in ("rect", "circle")), None)
        if place is None:
            _marks(part, series, labels, said)
        elif mark is None:
            parent.remove(part)  # a bar of no height
        else:
            mark.attrib.pop("class", None)
            if said is not None:
                value = series.values[int(place)] or 0
                SubElement(mark, "title").text = f"{labels[int(place)]} · {series.name} · {said(value)}"
            parent.remove(part)
            parent.insert(number, mark)
