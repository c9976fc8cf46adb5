"""A scrape as Prometheus reads it, by prometheus-client's own parser."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from interpose.metrics import Metrics


class Scrape:
    """Called with the end of a metric's name and labels, it is the sum of all samples that have them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.samples = [sample for family in families for sample in family.samples]
        assert all(sample.name.startswith("interpose_") for sample in self.samples)

    @classmethod
    def read(cls, body: bytes, content_type: str) -> Scrape:
        parse = open_metrics if content_type.startswith("application/openmetrics-text") else prometheus
        return cls(parse(body.decode()))

    def __call__(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == f"interpose_{name}" and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples if sample.name == f"interpose_{name}"}

    @property
    def models(self) -> set[str]:
        return {sample.labels["model"] for sample in self.samples if "model" in sample.labels}


async def scraped(metrics: Metrics, accept: str = "") -> Scrape:
    return Scrape.read(*await metrics.page(accept))
