"""The page: the numbers of all workers, added up, in Prometheus' text format or in OpenMetrics', by prometheus-client.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import orjson
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.registry import Collector

from .families import BUCKETS, FAMILIES, PREFIX, Family
from .sheet import Labels, State

_BOUNDS = (*(repr(bound) for bound in BUCKETS), "+Inf")
_JOIN: Mapping[str, Callable[[Iterable[float]], float]] = {"sum": math.fsum, "max": max, "min": min}


class Page(Collector):
    """What one scrape is shown: the counts of every sheet, and the states that each worker shows."""

    def __init__(self, counts: Iterable[Mapping[str, float]], states: Iterable[Sequence[State]]) -> None:
        self._series: dict[str, dict[Labels, float]] = defaultdict(dict)
        self._buckets: dict[str, dict[Labels, list[float]]] = defaultdict(dict)
        for numbers in counts:
            for name, value in numbers.items():
                self._count(orjson.loads(name), value)
        shown: dict[str, dict[Labels, list[float]]] = defaultdict(lambda: defaultdict(list))
        for each in states:
            for state in each:
                shown[state.name][state.labels].append(state.value)
        for name, by_labels in shown.items():
            join = _JOIN[FAMILIES[name].joined]
            self._series[name] = {labels: join(values) for labels, values in by_labels.items()}

    def _count(self, name: list[str], value: float) -> None:
        family = FAMILIES.get(name[0])
        if family is None:
            # Of a worker of another version.
            return
        if family.kind == "histogram":
            *labels, place = name[1:]
            numbers = self._buckets[family.name].setdefault(tuple(labels), [0.0] * (len(_BOUNDS) + 1))
            numbers[-1 if place == "sum" else int(place)] += value
        else:
            series = self._series[family.name]
            series[tuple(name[1:])] = series.get(tuple(name[1:]), 0.0) + value

    def collect(self) -> Iterator[Metric]:
        return (_METRIC[family.kind](self, family) for family in FAMILIES.values())

    def _counter(self, family: Family) -> Metric:
        metric = CounterMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
        return self._filled(metric, family)

    def _gauge(self, family: Family) -> Metric:
        return self._filled(GaugeMetricFamily(PREFIX + family.name, family.help, labels=family.labels), family)

    def _filled[M: (CounterMetricFamily, GaugeMetricFamily)](self, metric: M, family: Family) -> M:
        for labels, value in sorted(self._series[family.name].items()):
            metric.add_metric(labels, value)
        return metric

    def _histogram(self, family: Family) -> Metric:
        metric = HistogramMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
        for labels, numbers in sorted(self._buckets[family.name].items()):
            below, buckets = 0.0, []
            for bound, count in zip(_BOUNDS, numbers[:-1], strict=True):
                below += count
                buckets.append((bound, below))
            metric.add_metric(labels, buckets, numbers[-1])
        return metric


_METRIC: Mapping[str, Callable[[Page, Family], Metric]] = {
    "counter": Page._counter,
    "gauge": Page._gauge,
    "histogram": Page._histogram,
}


def written(page: Page, accept: str) -> tuple[bytes, str]:
    """The page as `accept` (a request's header) wants it, and its content type."""
    try:
        encode, content_type = choose_encoder(accept)
        return encode(page), content_type
    except (ValueError, TypeError):
        # An Accept that names no version which can be read.
        return generate_latest(page), CONTENT_TYPE_PLAIN_0_0_4
