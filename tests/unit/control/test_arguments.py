"""Arguments are checked against schemas at once, and no schema keeps the server busy."""

import enum
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
import pytest

from pulseboard.control.arguments import find_objection
from pulseboard.sdk.command_registry import CommandRegistry


class Shade(enum.Enum):
    LIGHT = "light"
    DARK = "dark"


class Place(msgspec.Struct):
    row: int
    seat: str = "a"


def handle(
    n: int,
    ratio: float = 1.0,
    name: Annotated[str, msgspec.Meta(max_length=3)] = "",
    shade: Shade = Shade.DARK,
    place: Place | None = None,
    seen: set[int] = set(),  # noqa: B006 - a default as host applications write it
    price: Decimal = Decimal(1),
    word: Literal["on", "off"] = "on",
    counts: dict[str, int] = {},  # noqa: B006
) -> None:
    """Take arguments of many types."""


def schema_of_handle() -> dict[str, Any]:
    registry = CommandRegistry()
    registry.add("go", handle)
    listener: dict[str, Any] = msgspec.json.decode(registry.describe("run", "0-0"))
    schema: dict[str, Any] = listener["commands"]["go"]["args"]
    return schema


SCHEMA = schema_of_handle()
NAMES = "n, ratio, name, shade, place, seen, price, word, counts"


@pytest.mark.parametrize(
    "args",
    [
        {"n": 1},
        {"n": 1, "ratio": 2, "name": "abc", "shade": "light", "word": "off"},
        {"n": 1, "place": {"row": 1}, "counts": {"a": 1}},
        {"n": 1, "place": None},
        {"n": 1, "seen": [1, 1]},
        {"n": 1, "price": "1.50"},
        {"n": 1, "price": 1.5},
    ],
)
def test_arguments_that_the_service_accepts_have_no_objection(args: dict[str, Any]) -> None:
    assert find_objection(msgspec.json.encode(args), [SCHEMA]) is None


@pytest.mark.parametrize(
    ("args", "objection"),
    [
        ({}, f"args: 'n' is a required property; it takes {NAMES}"),
        ({"n": "1"}, "args.n: '1' is not of type 'integer'"),
        (
            {"n": 1, "m": 2},
            f"args: Additional properties are not allowed ('m' was unexpected); it takes {NAMES}",
        ),
        ({"n": 1, "name": "abcd"}, "args.name: 'abcd' is too long"),
        ({"n": 1, "place": {"row": 1.5}}, "args.place.row: 1.5 is not of type 'integer'"),
        ({"n": 1, "seen": [1, "a"]}, "args.seen[1]: 'a' is not of type 'integer'"),
        ({"n": 1, "shade": "grey"}, "args.shade: 'grey' is not one of ['dark', 'light']"),
        ({"n": 1, "counts": {"a": "b"}}, "args.counts.a: 'b' is not of type 'integer'"),
        ({"n": 1, "price": True}, "args.price: True is not of type 'string'"),
    ],
)
def test_arguments_that_the_service_rejects_have_an_objection_with_the_path(
    args: dict[str, Any], objection: str
) -> None:
    assert find_objection(msgspec.json.encode(args), [SCHEMA]) == objection


def test_arguments_that_one_of_several_schemas_accepts_have_no_objection() -> None:
    other = {"type": "object", "required": ["m"]}
    assert find_objection(b'{"n":1}', [other, SCHEMA]) is None
    assert find_objection(b'{"k":1}', [other, SCHEMA]) is not None


def doubling(keyword: str, levels: int = 60) -> dict[str, Any]:
    parts = {f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": {**parts, f"d{levels}": {"type": "string"}}, "$ref": "#/$defs/d0"}


SLOW = "^(a+)+$"
HOSTILE = {
    "refers to itself": {"$ref": "#"},
    "refers to a URL": {"$ref": "http://127.0.0.1:9/schema"},
    "refers to a file": {"$ref": "file:///etc/hostname"},
    "refers to a missing definition": {"$ref": "#/nowhere"},
    "is invalid": {"type": 7},
    "has a slow pattern": {"properties": {"a": {"pattern": SLOW}}},
    "has a slow pattern of names": {"patternProperties": {SLOW: {}}, "additionalProperties": False},
    "has a slow pattern of names and unevaluated properties": {
        "patternProperties": {SLOW: {}},
        "unevaluatedProperties": False,
    },
    "has a slow pattern in another draft": {
        "properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema#", "pattern": SLOW}}
    },
    "compares all pairs of items": {"properties": {"many": {"uniqueItems": True}}},
    "has a long enumeration": {
        "properties": {"many": {"items": {"enum": [{"a": n} for n in range(9_000)]}}}
    },
    "searches anchors": {
        "$defs": {f"d{n}": {"$anchor": f"n{n}"} for n in range(400)},
        "allOf": [{"$ref": "#n399"}] * 90,
    },
    "compares long lists": {
        "properties": {"many": {"items": {"const": [{"n": n} for n in range(1_500)]}}}
    },
    "has many objections": {"allOf": [{"minProperties": 9}] * 3_000},
    "is long": {"allOf": [{"maxProperties": 9}] * 9_000},
    "requires many properties": {"allOf": [{"required": [f"x{n}" for n in range(9_000)]}] * 9},
    **{f"doubles by {keyword}": doubling(keyword) for keyword in ("allOf", "anyOf", "oneOf")},
}


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_hostile_schema_costs_little_time_and_causes_no_objection(schema: dict[str, Any]) -> None:
    args = {"a": "a" * 60 + "!", "a" * 60 + "!": 1, "many": [{"n": n} for n in range(1_500)]}
    assert find_objection(msgspec.json.encode(args), [schema]) is None
