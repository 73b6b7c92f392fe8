"""Parameters that several endpoints share, as the OpenAPI document describes them.

The descriptions and patterns are for readers of the document. `query` does the checks, with better
messages.
"""

from typing import Annotated, Any

from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec import Schema
from litestar.params import HeaderParameter, PathParameter, QueryParameter
from litestar.typing import FieldDefinition

from pulseboard.bus.history.reader import TimeRange
from pulseboard.server.http.query import check_parameters, parse_log_filter, parse_time_range
from pulseboard.timeline.logs import LogQuery
from pulseboard.wire.events.log import LEVELS
from pulseboard.wire.names import NAME_PATTERN, RESERVED

_NAME = {"pattern": f"^{NAME_PATTERN}$", "schema_not": Schema(enum=sorted(RESERVED))}
_CURSOR = r"[0-9]{1,19}-[0-9]{1,19}"
_DATE = r"(19[7-9][0-9]|20[0-9]{2})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_MOMENT = {"pattern": f"^([0-9]{{1,13}}|{_DATE}T{_TIME}Z)$"}

ServiceName = Annotated[str, PathParameter(description="The name of a service", schema_extra=_NAME)]
OneService = Annotated[
    str | None, QueryParameter(description="Only this service", schema_extra=_NAME)
]
Services = Annotated[
    str | None,
    QueryParameter(
        description="Only these services, separated by commas",
        schema_extra={"pattern": f"^{NAME_PATTERN}(,{NAME_PATTERN}){{0,9}}$"},
    ),
]
From = Annotated[
    str | None,
    QueryParameter(
        name="from",
        description="The earliest time: ms since the epoch, or ISO 8601",
        schema_extra=_MOMENT,
    ),
]
To = Annotated[
    str | None,
    QueryParameter(
        name="to",
        description="The latest time: ms since the epoch, or ISO 8601",
        schema_extra=_MOMENT,
    ),
]
At = Annotated[
    str,
    QueryParameter(
        description="A time in the past: ms since the epoch, or ISO 8601", schema_extra=_MOMENT
    ),
]
Before = Annotated[
    str | None,
    QueryParameter(
        description="Only events older than the one with this id",
        schema_extra={"pattern": f"^{_CURSOR}$"},
    ),
]
BeforeLine = Annotated[
    str | None,
    QueryParameter(
        description="Only lines older than the one with this id",
        schema_extra={"pattern": rf"^{_CURSOR}\.[0-9]{{1,4}}$"},
    ),
]
Level = Annotated[
    str | None,
    QueryParameter(
        description="Only lines of this level and above", schema_extra={"enum": list(LEVELS)}
    ),
]
Contains = Annotated[
    str | None,
    QueryParameter(description="Only lines that contain this text; case does not matter"),
]
Format = Annotated[
    str | None,
    QueryParameter(
        name="format",
        description="`jsonl`: everything from `from` to `to` as JSON Lines, oldest first; "
        "`limit` and `before` are not allowed",
        schema_extra={"enum": ["json", "jsonl"]},
    ),
]
MetricName = Annotated[
    str | None,
    QueryParameter(
        name="name",
        description="Return this metric as a chart",
        schema_extra={"pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,63}$"},
    ),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="Requests with the same key send the command once, within a day",
        schema_extra={"pattern": "^[!-~]{1,200}$"},
    ),
]
CommandId = Annotated[
    str,
    PathParameter(description="The id of a command", schema_extra={"pattern": "^[0-9a-f]{32}$"}),
]
Limit = Annotated[int, QueryParameter(ge=1, le=1_000)]
"""Events or lines in one answer."""


TimeRangeParameters = NamedDependency[TimeRange]
"""The parameters `from` and `to`; needs `dependencies=TIME_RANGE`."""
LogQueryParameters = NamedDependency[LogQuery]
"""The parameters `level`, `contains`, `from` and `to`; needs `dependencies=LOG_QUERY`."""


def _provide_time_range(start: From = None, end: To = None) -> TimeRange:
    return parse_time_range(start, end)


def _provide_log_query(
    level: Level = None, contains: Contains = None, start: From = None, end: To = None
) -> LogQuery:
    return LogQuery(parse_log_filter(level, contains), parse_time_range(start, end))


TIME_RANGE = {"time_range": Provide(_provide_time_range, sync_to_thread=False)}
LOG_QUERY = {"log_query": Provide(_provide_log_query, sync_to_thread=False)}


def reject_unknown_parameters(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Raise a Problem for a query parameter that the endpoint does not have.

    A guard of the framework.
    """
    given = [name for name, _ in connection.query_params.multi_items()]
    check_parameters(given, list(query_parameters(handler)))


def query_parameters(handler: BaseRouteHandler) -> dict[str, FieldDefinition]:
    """Return the query parameters of a handler and of its dependencies, by name."""
    signatures = [handler.parsed_fn_signature]
    signatures += [each.parsed_fn_signature for each in handler.resolve_dependencies().values()]
    return {
        field.kwarg_definition.name or name: field
        for signature in signatures
        for name, field in signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    }
