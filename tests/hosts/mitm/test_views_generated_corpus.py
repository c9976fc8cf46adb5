"""The views over bodies that are made from the published schemas, sane and hostile: none fails."""

from __future__ import annotations

import pytest
from mitmproxy import http
from mitmproxy.test import tflow
from tests.generated.families import FAMILIES, Family
from tests.generated.made import HOSTILE, JSON, Made, spoilt
from tests.hosts.mitm.test_views_corpus import shown

from interpose.hosts.mitm.views import VIEWS


def flow(family: Family, made: Made) -> http.HTTPFlow:
    of = tflow.tflow(resp=True)
    of.request = http.Request.make("POST", family.url, made.request, {"content-type": JSON})
    of.response = http.Response.make(200, made.reply, {"content-type": made.kind})
    return of


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_view_shows_whatever_comes(family: Family) -> None:
    """Some of each kind of what is broken."""
    for seed in range(len(HOSTILE)):
        for number, made in enumerate(spoilt(family, seed)):
            if (number + seed) % 4 == 1:
                of = flow(family, made)
                for view in VIEWS:
                    for message in (of.request, of.response):
                        shown(view, of, message).encode()
