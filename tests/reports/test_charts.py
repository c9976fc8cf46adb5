"""Charts as SVG for a page with a strict policy."""

from itertools import pairwise
from xml.etree.ElementTree import fromstring

import pytest

from interpose.reports.charts import NARROW, WIDE, Chart, Series

SVG = "{http://www.w3.org/2000/svg}"


def chart(*values: float | None, stacked: bool = True, name: str = "gpt") -> Chart:
    labels = [f"Nov {place}" for place in range(1, len(values) + 1)]
    return Chart("Spend", "by day", labels, [Series(name, "series-1", values)], "${:.2f}".format, stacked)


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_a_chart_brings_nothing_that_the_policy_forbids(stacked: bool, size: tuple[int, int]) -> None:
    """Neither a script nor a style, in an element or in an attribute, nor an address of anything."""
    root = fromstring(chart(1, None, 3, stacked=stacked).svg(size))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg", "g", "rect", "path", "text", "title", "circle",
    }  # fmt: skip
    names = {name for element in root.iter() for name in element.attrib}
    assert not {name for name in names if name in ("style", "id", "href") or name.startswith("on")}
    assert root.attrib["aria-label"] == "Spend: by day"


@pytest.mark.parametrize(("stacked", "mark"), [(True, "rect"), (False, "circle")])
def test_each_value_has_a_mark_with_a_title(stacked: bool, mark: str) -> None:
    """What a mouse shows; where there is no value there is nothing."""
    root = fromstring(chart(1, None, 3, stacked=stacked).svg(WIDE))
    marks = [element for group in root.iter(f"{SVG}g") if group.get("class") == "series series-1"
             for element in group.iter(f"{SVG}{mark}")]  # fmt: skip
    assert [element.findtext(f"{SVG}title") for element in marks] == ["Nov 1 · gpt · $1.00", "Nov 3 · gpt · $3.00"]


def test_a_name_is_text() -> None:
    """Whatever a client calls its model."""
    name = "</title><script>alert(1)</script>\"'&"
    drawn = chart(1, name=name).svg(WIDE)
    assert "<script" not in drawn
    assert name in [element.text.split(" · ")[1] for element in fromstring(drawn).iter(f"{SVG}title") if element.text]


@pytest.mark.parametrize("count", [1, 2, 90, 800])
@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_labels_have_room(count: int, size: tuple[int, int]) -> None:
    """As many as fit beside each other."""
    root = fromstring(chart(*range(1, count + 1)).svg(size))
    axis = next(group for group in root.iter(f"{SVG}g") if group.get("class") == "axis x")
    places = [float(text.get("x", 0)) for text in axis.iter(f"{SVG}text")]
    assert 1 <= len(places) <= count
    assert all(after - before > 40 for before, after in pairwise(places))


@pytest.mark.parametrize("values", [(0,), (None,), (1e-9,), (1e15,), (5,) * 3])
def test_odd_values_are_drawn(values: tuple[float | None, ...]) -> None:
    """Nothing, next to nothing, very much, and the same all over."""
    for stacked in (True, False):
        assert fromstring(chart(*values, stacked=stacked).svg(WIDE)).tag == f"{SVG}svg"
