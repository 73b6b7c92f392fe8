"""Metrics of services as Prometheus has them: which family a metric is in, and with which labels.

Families are named after the metrics. A name that Prometheus' conventions do not allow (`promtool check metrics`), or that is
taken by another metric, stands in a family for all such, with the name in a label: no value is left out for its name.
"""

import re
from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric, Sample

from pulseboard.bus.history.latest_metrics import InstanceMetrics
from pulseboard.wire.events.metric import Distribution, Kind, Value, split_name

PREFIX = "pulseboard_service_"
SERIES_MOST = 100_000
"""Of all services together; what is more is left out."""

_OTHERS: dict[Kind, str] = {
    "gauge": f"{PREFIX}other",
    "counter": f"{PREFIX}other_events",
    "histogram": f"{PREFIX}other_distribution",
}
_TYPES: dict[Kind, str] = {"gauge": "gauge", "counter": "counter", "histogram": "summary"}
_SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "gauge": ("",),
    "counter": ("_total",),
    "histogram": ("", "_count", "_sum", "_bucket"),
}
"""What the names of a family's samples end in, or its own."""

_MULTIPLES = "pico|nano|micro|milli|centi|deci|deca|hecto|kilo|kibi|mega|mibi|mebi|giga|gibi|tera|tebi|peta|pebi"
_UNITS = "amperes|bytes|celsius|grams|joules|kelvin|meters|metres|seconds|volts"
_OTHER_UNITS = "minutes|hours|days|weeks|kelvins|fahrenheit|rankine|inches|yards|miles|bits|calories|pounds|ounces"
_DISCOURAGED = re.compile(
    rf"(?:{_MULTIPLES})(?:{_UNITS}|{_OTHER_UNITS})|{_OTHER_UNITS}|s|ms|us|ns|sec|b|kb|mb|gb|tb|pb|m|h|d"
    r"|counter|gauge|summary|untyped|histogram|gaugehistogram"
)
"""Parts of a name that the conventions object to: https://prometheus.io/docs/practices/naming/."""
_RESERVED_ENDS = ("_total", "_count", "_sum", "_bucket", "_created", "_info")
_OURS = frozenset({"service", "instance", "name", "le", "quantile"})

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9_]+")


def make_families(readings: Iterable[InstanceMetrics]) -> Iterator[Metric]:
    """Yield a family for each metric, with what each instance told last."""
    names = _Names()
    families: dict[tuple[str, Kind], Metric] = {}
    seen: set[tuple[str, Kind, tuple[tuple[str, str], ...]]] = set()
    values = [
        (name, event.kind(name), value, event.service, event.instance)
        for _, event in readings
        for name, value in event.metrics.items()
    ]
    # In the order of the names, so that of two that want one family the same gets it each time.
    for name, kind, value, service, instance in sorted(values, key=lambda each: (each[0], each[1]))[
        :SERIES_MOST
    ]:
        base, folded = split_name(name)
        family_name, is_own = names.choose(base, kind)
        labels = {"service": service, "instance": instance} | _to_labels(folded)
        if not is_own:
            labels["name"] = base
        key = family_name, kind, tuple(sorted(labels.items()))
        if key in seen:
            continue  # two sets of labels that differ only in what Prometheus does not allow
        seen.add(key)
        said = f"{base!a}" if is_own else "What Prometheus would not have under its own name"
        family = families.setdefault(
            (family_name, kind),
            Metric(family_name, f"{said}, as each instance told it last.", _TYPES[kind]),
        )
        family.samples.extend(_to_samples(family_name, labels, kind, value))
        if isinstance(value, Distribution) and value.buckets:
            family.type = "histogram"
    for family in families.values():
        if family.type == "histogram":
            _complete(family)
        yield family


class _Names:
    """Which metric has which family, by the names of its samples: no two may have one."""

    def __init__(self) -> None:
        self._owners = {
            other + suffix: ("", kind)
            for kind, other in _OTHERS.items()
            for suffix in _SUFFIXES[kind]
        }

    def choose(self, base: str, kind: Kind) -> tuple[str, bool]:
        """Return the family for a metric, and whether it is its own."""
        name = _to_snake(base)
        if kind == "counter":
            name = name.removesuffix("_total")
        owner = (base, kind)
        samples = [f"{PREFIX}{name}{suffix}" for suffix in _SUFFIXES[kind]]
        if _is_conventional(name) and all(
            self._owners.setdefault(sample, owner) == owner for sample in samples
        ):
            return PREFIX + name, True
        return _OTHERS[kind], False


def _is_conventional(name: str) -> bool:
    parts = name.split("_")
    return not (
        name == ""
        or f"_{name}".endswith(_RESERVED_ENDS)
        or any(_DISCOURAGED.fullmatch(part) for part in parts)
    )


def _to_snake(text: str) -> str:
    return _NOT_IN_NAMES.sub("_", _HUMP.sub("_", text).lower()).strip("_")


def _to_labels(folded: dict[str, str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for key, text in folded.items():
        name = _to_snake(key) or "label"
        # Not beside ours, which say whose it is, nor first a digit.
        labels[f"label_{name}" if name in _OURS or name[0].isdigit() else name] = text
    return labels


def _to_samples(family: str, labels: dict[str, str], kind: Kind, value: Value) -> Iterator[Sample]:
    if isinstance(value, Distribution):
        for bound, count in value.buckets:
            yield Sample(f"{family}_bucket", labels | {"le": repr(bound)}, count)
        yield Sample(f"{family}_count", labels, value.count)
        yield Sample(f"{family}_sum", labels, value.sum)
    else:
        yield Sample(family + ("_total" if kind == "counter" else ""), labels, float(value))


def _complete(family: Metric) -> None:
    """Give each count in a histogram the bucket that holds all, which every one must have."""
    counts = [sample for sample in family.samples if sample.name == f"{family.name}_count"]
    family.samples.extend(
        Sample(f"{family.name}_bucket", sample.labels | {"le": "+Inf"}, sample.value)
        for sample in counts
    )
