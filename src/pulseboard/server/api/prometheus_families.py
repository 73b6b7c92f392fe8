"""Metrics of services in the format of Prometheus: family and labels of each metric.

A family is named after its metric. If Prometheus' conventions do not allow the name (`promtool
check metrics`), or another metric has it, the metric goes to a common family with its name in a
label, so no value is omitted because of its name.
"""

import re
from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric, Sample

from pulseboard.bus.history.latest_metrics import InstanceMetrics
from pulseboard.wire.events.metric import Distribution, MetricKind, Value, split_name

PREFIX = "pulseboard_service_"
SERIES_MAX = 100_000
"""Series of all services together; further ones are omitted."""

_COMMON_FAMILIES: dict[MetricKind, str] = {
    "gauge": f"{PREFIX}other",
    "counter": f"{PREFIX}other_events",
    "histogram": f"{PREFIX}other_distribution",
}
_TYPES: dict[MetricKind, str] = {"gauge": "gauge", "counter": "counter", "histogram": "summary"}
_SUFFIXES: dict[MetricKind, tuple[str, ...]] = {
    "gauge": ("",),
    "counter": ("_total",),
    "histogram": ("", "_count", "_sum", "_bucket"),
}
"""The suffixes of the sample names of a family."""

_MULTIPLES = (
    "pico|nano|micro|milli|centi|deci|deca|hecto"
    "|kilo|kibi|mega|mibi|mebi|giga|gibi|tera|tebi|peta|pebi"
)
_UNITS = "amperes|bytes|celsius|grams|joules|kelvin|meters|metres|seconds|volts"
_OTHER_UNITS = (
    "minutes|hours|days|weeks|kelvins|fahrenheit|rankine"
    "|inches|yards|miles|bits|calories|pounds|ounces"
)
_DISCOURAGED = re.compile(
    rf"(?:{_MULTIPLES})(?:{_UNITS}|{_OTHER_UNITS})|{_OTHER_UNITS}"
    r"|s|ms|us|ns|sec|b|kb|mb|gb|tb|pb|m|h|d"
    r"|counter|gauge|summary|untyped|histogram|gaugehistogram"
)
"""Words that the naming conventions reject: https://prometheus.io/docs/practices/naming/"""
_RESERVED_SUFFIXES = ("_total", "_count", "_sum", "_bucket", "_created", "_info")
_OWN_LABELS = frozenset({"service", "instance", "name", "le", "quantile"})

_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_INVALID_CHARS = re.compile(r"[^a-z0-9_]+")


def make_families(readings: Iterable[InstanceMetrics]) -> Iterator[Metric]:
    """Yield a family for each metric, with the latest value of each instance."""
    names = _FamilyNames()
    families: dict[tuple[str, MetricKind], Metric] = {}
    seen: set[tuple[str, MetricKind, tuple[tuple[str, str], ...]]] = set()
    for name, kind, value, own_labels in _list_values(readings):
        base, folded = split_name(name)
        family_name, is_own = names.choose(base, kind)
        labels = own_labels | _to_labels(folded)
        if not is_own:
            labels["name"] = base
        key = family_name, kind, tuple(sorted(labels.items()))
        if key in seen:
            continue  # these labels differ from others only in characters that are not allowed
        seen.add(key)
        subject = f"{base!a}" if is_own else "Metrics whose names Prometheus does not allow"
        family = families.setdefault(
            (family_name, kind),
            Metric(family_name, f"{subject}: the latest value of each instance.", _TYPES[kind]),
        )
        family.samples.extend(_to_samples(family_name, labels, kind, value))
        if isinstance(value, Distribution) and value.buckets:
            family.type = "histogram"
    for family in families.values():
        if family.type == "histogram":
            _add_infinity_buckets(family)
        yield family


def _list_values(
    readings: Iterable[InstanceMetrics],
) -> list[tuple[str, MetricKind, Value, dict[str, str]]]:
    """Return the values with their own labels, sorted by name and kind.

    The order makes sure that of two metrics that want the same family, the same one gets it each
    time.
    """
    values = [
        (name, event.kind(name), value, {"service": event.service, "instance": event.instance})
        for _, event in readings
        for name, value in event.metrics.items()
    ]
    return sorted(values, key=lambda each: (each[0], each[1]))[:SERIES_MAX]


class _FamilyNames:
    """The metric that owns each sample name: two metrics must not share one."""

    def __init__(self) -> None:
        self._owners = {
            other + suffix: ("", kind)
            for kind, other in _COMMON_FAMILIES.items()
            for suffix in _SUFFIXES[kind]
        }

    def choose(self, base: str, kind: MetricKind) -> tuple[str, bool]:
        """Return the family of a metric, and whether it is named after the metric."""
        name = _to_snake(base)
        if kind == "counter":
            name = name.removesuffix("_total")
        owner = (base, kind)
        samples = [f"{PREFIX}{name}{suffix}" for suffix in _SUFFIXES[kind]]
        if _is_conventional(name) and all(
            self._owners.setdefault(sample, owner) == owner for sample in samples
        ):
            return PREFIX + name, True
        return _COMMON_FAMILIES[kind], False


def _is_conventional(name: str) -> bool:
    parts = name.split("_")
    return not (
        name == ""
        or f"_{name}".endswith(_RESERVED_SUFFIXES)
        or any(_DISCOURAGED.fullmatch(part) for part in parts)
    )


def _to_snake(text: str) -> str:
    return _INVALID_CHARS.sub("_", _WORD_BOUNDARY.sub("_", text).lower()).strip("_")


def _to_labels(folded: dict[str, str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for key, text in folded.items():
        name = _to_snake(key) or "label"
        # A label must not replace one of ours, or begin with a digit.
        labels[f"label_{name}" if name in _OWN_LABELS or name[0].isdigit() else name] = text
    return labels


def _to_samples(
    family: str, labels: dict[str, str], kind: MetricKind, value: Value
) -> Iterator[Sample]:
    if isinstance(value, Distribution):
        for bound, count in value.buckets:
            yield Sample(f"{family}_bucket", labels | {"le": repr(bound)}, count)
        yield Sample(f"{family}_count", labels, value.count)
        yield Sample(f"{family}_sum", labels, value.sum)
    else:
        yield Sample(family + ("_total" if kind == "counter" else ""), labels, float(value))


def _add_infinity_buckets(family: Metric) -> None:
    """Add the bucket `+Inf` to each histogram: the format requires it."""
    counts = [sample for sample in family.samples if sample.name == f"{family.name}_count"]
    family.samples.extend(
        Sample(f"{family.name}_bucket", sample.labels | {"le": "+Inf"}, sample.value)
        for sample in counts
    )
