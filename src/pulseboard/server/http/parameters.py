"""Parameters that several routes take. What the schema says of them is for its readers: the checks are in `asked`, which say
what is wrong in their own words."""

from typing import Annotated, Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec import Schema
from litestar.params import HeaderParameter, PathParameter, QueryParameter

from pulseboard.server.http.query import check_parameters
from pulseboard.wire.events.log import LEVELS
from pulseboard.wire.names import RESERVED

_NAME = {"pattern": r"^[a-z0-9][a-z0-9._-]{0,63}$", "schema_not": Schema(enum=sorted(RESERVED))}
_CURSOR = r"[0-9]{1,19}-[0-9]{1,19}"
_DATE, _TIME = (
    r"(19[7-9][0-9]|20[0-9]{2})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])",
    r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]",
)
_MOMENT = {"pattern": f"^([0-9]{{1,13}}|{_DATE}T{_TIME}Z)$"}

ServiceName = Annotated[str, PathParameter(description="The name of a service", schema_extra=_NAME)]
OfService = Annotated[
    str | None, QueryParameter(description="Of this service alone", schema_extra=_NAME)
]
Services = Annotated[
    str | None,
    QueryParameter(
        description="Of these services alone, separated by commas",
        schema_extra={"pattern": r"^[a-z0-9][a-z0-9._-]{0,63}(,[a-z0-9][a-z0-9._-]{0,63}){0,9}$"},
    ),
]
From = Annotated[
    str | None,
    QueryParameter(
        name="from",
        description="From this time on: ms since the epoch, or ISO 8601",
        schema_extra=_MOMENT,
    ),
]
To = Annotated[
    str | None,
    QueryParameter(
        name="to",
        description="Up to this time: ms since the epoch, or ISO 8601",
        schema_extra=_MOMENT,
    ),
]
At = Annotated[
    str,
    QueryParameter(
        description="At this time: ms since the epoch, or ISO 8601; not to come",
        schema_extra=_MOMENT,
    ),
]
Before = Annotated[
    str | None,
    QueryParameter(
        description="Older than the event of this id", schema_extra={"pattern": f"^{_CURSOR}$"}
    ),
]
BeforeLine = Annotated[
    str | None,
    QueryParameter(
        description="Older than the line of this id",
        schema_extra={"pattern": rf"^{_CURSOR}\.[0-9]{{1,4}}$"},
    ),
]
Level = Annotated[
    str | None,
    QueryParameter(description="Of this level and above", schema_extra={"enum": list(LEVELS)}),
]
Contains = Annotated[str | None, QueryParameter(description="With this text in them, in any case")]
Format = Annotated[
    str | None,
    QueryParameter(
        name="format",
        description="`jsonl`: all from `from` to `to` as JSON Lines, the oldest first, without `limit` and `before`",
        schema_extra={"enum": ["json", "jsonl"]},
    ),
]
MetricName = Annotated[
    str | None,
    QueryParameter(
        name="name",
        description="The course of this metric",
        schema_extra={"pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,63}$"},
    ),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="The same key sends the same command once, for a day",
        schema_extra={"pattern": "^[!-~]{1,200}$"},
    ),
]
CommandId = Annotated[
    str,
    PathParameter(description="The id of a command", schema_extra={"pattern": "^[0-9a-f]{32}$"}),
]


def takes_no_others(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Raise a Problem for a query parameter that the route does not take. A guard of the framework's."""
    kinds = {
        name: field.kwarg_definition
        for name, field in handler.parsed_fn_signature.parameters.items()
    }
    known = [kind.name or name for name, kind in kinds.items() if isinstance(kind, QueryParameter)]
    check_parameters([name for name, _ in connection.query_params.multi_items()], known)
