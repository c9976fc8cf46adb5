"""docs/metrics.md says what there is."""

import re
from pathlib import Path

from interpose.metrics.families import FAMILIES

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_table_has_every_metric_with_its_labels() -> None:
    """In the order of the page, and none that is not there."""
    table = DOCS.read_text().partition("<!-- the metrics")[2].partition("<!-- end")[0]
    rows = re.findall(r"^\| `([a-z_]+)` \| ([^|]*)\|", table, re.MULTILINE)
    found = {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert found == {family.shown: family.labels for family in FAMILIES.values()}
    assert list(found) == [family.shown for family in FAMILIES.values()]


def test_the_queries_name_metrics_that_there_are() -> None:
    """A histogram's parts included."""
    named = set(re.findall(r"interpose_[a-z_]+", DOCS.read_text().partition("## Three questions")[2]))
    shown = {family.shown for family in FAMILIES.values()}
    assert {name.removesuffix("_bucket") for name in named} <= shown
    assert len(named) >= 4
