"""A first check of a command's arguments against the JSON Schema of its service.

Anyone who can write to Redis can write a schema. A schema must not make this server fetch another
document or keep it busy. So only keywords with a bounded cost are evaluated, up to a budget of
work. The service itself checks everything.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import jsonschema
import msgspec
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry

from pulseboard.wire.codec import encode

WORK_MAX = 50_000
"""The budget of one check, in units of work: about 0.1 s in the worst case."""
KEYWORD_COST, REF_COST, MEMBER_COST, ERROR_COST = 10, 500, 5, 500
"""Units per keyword, per `$ref`, per member, and per error found.

Members are those of the keyword's value and of the checked value.
"""
SCHEMA_MAX_BYTES = 65_536
TEXT_MAX_CHARS = 200
"""Longest part of an error message that comes from the schema or the arguments."""

_EVALUATED = frozenset(
    {
        "$ref",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "oneOf",
        "prefixItems",
        "properties",
        "propertyNames",
        "required",
        "type",
    }
)
"""The keywords that msgspec writes, and similar ones.

Regular expressions and keywords that compare each item with each other item are left out: their
cost has no bound.
"""

_REDIRECTING_KEYWORD = re.compile(rb'"\$(?:schema|id|anchor|dynamic\w+)"')
"""Keywords that select another validator. msgspec writes none of them."""

_work_left: ContextVar[int] = ContextVar("pulseboard_work_left")

Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]


class _BudgetExceeded(Exception):
    """The schema needs more work than one check may do."""


def find_objection(args: bytes, schemas: Iterable[dict[str, Any]]) -> str | None:
    """Return why none of the schemas (JSON Schema, draft 2020-12) accepts the arguments.

    `args` is the JSON of an object. None: a schema accepts them, or this check cannot decide.
    """
    _work_left.set(WORK_MAX)
    objection = None
    try:
        instance = msgspec.json.decode(args)
        for json, schema in {encode(schema): schema for schema in schemas}.items():
            if len(json) > SCHEMA_MAX_BYTES or _REDIRECTING_KEYWORD.search(json):
                return None
            error = best_match(_Validator(schema, registry=_EMPTY_REGISTRY).iter_errors(instance))
            if error is None:
                return None
            objection = _explain(error)
    # A hostile schema can raise any kind of exception. Then the decision is left to the service.
    except Exception:  # noqa: BLE001
        return None
    return objection


def _explain(error: ValidationError) -> str:
    path = "".join(
        f"[{part!r}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path
    )
    text = f"args{path}: {error.message[:TEXT_MAX_CHARS]}"
    known = error.schema.get("properties") if isinstance(error.schema, dict) else None
    is_about_names = error.validator in ("required", "additionalProperties")
    if is_about_names and isinstance(known, dict) and known:
        text += f"; it takes {', '.join(known)}"[:TEXT_MAX_CHARS]
    return text


def _with_budget(keyword: Keyword, cost: int) -> Keyword:
    def evaluate(
        validator: Any, value: Any, instance: Any, schema: Any
    ) -> Iterator[ValidationError]:
        left = _work_left.get() - cost - MEMBER_COST * (_count_members(value, instance))
        _work_left.set(left)
        if left < 0:
            raise _BudgetExceeded
        for error in keyword(validator, value, instance, schema) or ():
            # The message of an error contains the value that is wrong, which may be long.
            _work_left.set(_work_left.get() - ERROR_COST)
            yield error

    return evaluate


def _count_members(*values: Any) -> int:
    return sum(len(value) for value in values if isinstance(value, list | dict))


def _ignore_keyword(*_: Any) -> Iterator[ValidationError]:
    return iter(())


def _check_type(
    validator: Any, types: Any, instance: Any, schema: Any
) -> Iterable[ValidationError] | None:
    # msgspec describes a decimal as a string, but also reads it from a number.
    if schema.get("format") == "decimal" and validator.is_type(instance, "number"):
        return None
    return _STANDARD["type"](validator, types, instance, schema)


def _check_scalars(keyword: str) -> Keyword:
    def check(
        validator: Any, values: Any, instance: Any, schema: Any
    ) -> Iterable[ValidationError] | None:
        # Lists and objects would be compared with all their content. msgspec writes none here.
        candidates = values if isinstance(values, list) else [values]
        if any(isinstance(value, list | dict) for value in candidates):
            return None
        return _STANDARD[keyword](validator, values, instance, schema)

    return check


def _check_additional_properties(
    validator: Any, value: Any, instance: Any, schema: Any
) -> Iterable[ValidationError] | None:
    # Beside `patternProperties`, regular expressions decide which properties are additional.
    if "patternProperties" in schema:
        return None
    return _STANDARD["additionalProperties"](validator, value, instance, schema)


_STANDARD: dict[str, Keyword] = dict(jsonschema.Draft202012Validator.VALIDATORS)
_KEYWORDS = _STANDARD | {
    "type": _check_type,
    "additionalProperties": _check_additional_properties,
    "const": _check_scalars("const"),
    "enum": _check_scalars("enum"),
}
_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    {
        name: _with_budget(keyword, REF_COST if name == "$ref" else KEYWORD_COST)
        if name in _EVALUATED
        else _ignore_keyword
        for name, keyword in _KEYWORDS.items()
    },
)
_EMPTY_REGISTRY: Registry[Any] = Registry()
