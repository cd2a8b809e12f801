"""What a scrape has, for the tests of metrics."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples_of(text: str) -> Samples:
    """Each sample by its name and the values of its labels, in the order of the labels' names."""
    return {
        (each.name, tuple(each.labels[label] for label in sorted(each.labels))): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }
