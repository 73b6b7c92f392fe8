"""Arguments of a command, held against the JSON Schema that a service gives: a first look, for an answer at once.

A schema comes from whoever can write to Redis. It must not have this server fetch what it names, nor keep it busy; so of the
keywords only those count that take a bounded time, and what is left over after so much work is for the service to check,
which checks all of it itself.
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

MOST_WORK = 50_000
"""About a tenth of a second at the worst: what each keyword costs, and so much for each member of what it says and of what it is
held against."""
KEYWORD_COST, REF_COST, MEMBER_COST, ERROR_COST = 10, 500, 5, 500
SCHEMA_MAX_BYTES = 65_536

_COUNTED = frozenset(
    {
        "$ref",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
    }
    | {
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
    }
    | {"multipleOf", "oneOf", "prefixItems", "properties", "propertyNames", "required", "type"}
)
"""What msgspec writes, and its kin. Not among them are regular expressions and whatever compares each item with each."""

_LEADS_AWAY = re.compile(rb'"\$(?:schema|id|anchor|dynamic\w+)"')
"""By these a part of a schema chooses another validator than ours, or has one look for it; msgspec writes none."""

_left: ContextVar[int] = ContextVar("pulseboard_work_left")

Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]


class _Undecided(Exception):
    """The schema asks for too much work."""


def object_to(args: bytes, schemas: Iterable[dict[str, Any]]) -> str | None:
    """Return why not one of these schemas (JSON Schema, draft 2020-12) takes the arguments, which are the JSON of an object.

    None where one does, or where that cannot be said here.
    """
    _left.set(MOST_WORK)
    objection = None
    try:
        instance = msgspec.json.decode(args)
        for json, schema in {encode(schema): schema for schema in schemas}.items():
            if len(json) > SCHEMA_MAX_BYTES or _LEADS_AWAY.search(json):
                return None
            error = best_match(_Validator(schema, registry=_NOWHERE).iter_errors(instance))
            if error is None:
                return None
            objection = _explain(error)
    # What a hostile schema may raise has no end of kinds: it is for the service to say what it takes.
    except Exception:  # noqa: BLE001
        return None
    return objection


def _explain(error: ValidationError) -> str:
    where = "".join(
        f"[{part!r}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path
    )
    known = error.schema.get("properties") if isinstance(error.schema, dict) else None
    told = f"; it takes {', '.join(known)}"[:200] if isinstance(known, dict) and known else ""
    return f"args{where}: {error.message[:200]}{told if error.validator in ('required', 'additionalProperties') else ''}"


def _count(keyword: Keyword, price: int) -> Keyword:
    def counted(
        validator: Any, value: Any, instance: Any, schema: Any
    ) -> Iterator[ValidationError]:
        left = _left.get() - price - MEMBER_COST * (_size(value) + _size(instance))
        _left.set(left)
        if left < 0:
            raise _Undecided
        for error in keyword(validator, value, instance, schema) or ():
            _left.set(_left.get() - ERROR_COST)  # it shows what it is about
            yield error

    return counted


def _size(value: Any) -> int:
    return len(value) if isinstance(value, list | dict) else 0


def _pass_over(*_: Any) -> Iterator[ValidationError]:
    return iter(())


def _takes_type(
    validator: Any, types: Any, instance: Any, schema: Any
) -> Iterable[ValidationError] | None:
    # msgspec writes a decimal as a text, and reads it from a number as well.
    if schema.get("format") == "decimal" and validator.is_type(instance, "number"):
        return None
    return _STANDARD["type"](validator, types, instance, schema)


def _takes_one(keyword: str) -> Keyword:
    def takes(
        validator: Any, values: Any, instance: Any, schema: Any
    ) -> Iterable[ValidationError] | None:
        # Lists and objects would be compared with all that is in them; msgspec writes none.
        flat = not any(
            isinstance(value, list | dict)
            for value in (values if isinstance(values, list) else [values])
        )
        return _STANDARD[keyword](validator, values, instance, schema) if flat else None

    return takes


def _takes_more(
    validator: Any, more: Any, instance: Any, schema: Any
) -> Iterable[ValidationError] | None:
    # What is additional beside these is told by their expressions, which are not looked at.
    return (
        None
        if "patternProperties" in schema
        else _STANDARD["additionalProperties"](validator, more, instance, schema)
    )


_STANDARD: dict[str, Keyword] = dict(jsonschema.Draft202012Validator.VALIDATORS)
_OURS = _STANDARD | {"type": _takes_type, "additionalProperties": _takes_more}
_OURS |= {keyword: _takes_one(keyword) for keyword in ("const", "enum")}
_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    {
        name: _count(check, REF_COST if name == "$ref" else KEYWORD_COST)
        if name in _COUNTED
        else _pass_over
        for name, check in _OURS.items()
    },
)
_NOWHERE: Registry[Any] = Registry()
