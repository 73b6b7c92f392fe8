"""What answers have in common: how they are written, and what the schema says of them."""

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.enums import MediaType
from litestar.openapi import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.types import Method
from litestar.typing import FieldDefinition

from pulseboard.server.http.problems import CONTENT_TYPE as PROBLEM_TYPE
from pulseboard.wire.codec import encode

JSON_LINES = "application/x-ndjson"
FRESH = {"cache-control": "no-store"}

READ: list[Method] = ["GET", "HEAD"]
"""RFC 9110, 9.1: whatever answers GET must answer HEAD."""

_WHY = {
    400: "The request is not what it must be; `detail` says what to mend",
    403: "A page of another site may not do this",
    404: "There is no such thing",
    409: "Nobody is there to do it",
    413: "The request is too large",
    415: "The body is not JSON, or is not called so",
    422: "What is asked for cannot be done like that",
    429: "Too many commands are open; Retry-After says when to try again",
    503: "Redis cannot be reached, or the board cannot see it yet; Retry-After says when to ask again",
}


class ProblemDocument(msgspec.Struct):
    """What went wrong (RFC 9457). `code` is stable; some codes bring members of their own."""

    type: str
    title: str
    status: int
    code: str
    detail: str


class JsonPart(OpenAPISchemaPlugin):
    """Says of what is kept as JSON text that it is any JSON."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        return field_definition.annotation is msgspec.Raw

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        return Schema(description="Any JSON")

    @staticmethod
    def is_undefined_sentinel(value: Any) -> bool:
        return value is msgspec.UNSET


class SchemaDocument(JsonRenderPlugin):
    """Renders the schema, and says what the framework has no words for: of bodies that take no unknown members that they do
    not (`strict`), and that what takes a `format` also answers with JSON Lines."""

    def __init__(self, path: str, *strict: type[msgspec.Struct]) -> None:
        super().__init__(path=path)
        self._strict = [kind.__name__ for kind in strict]

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        for name in self._strict:
            openapi_schema["components"]["schemas"][name]["additionalProperties"] = False
        for operation in (
            each for path in openapi_schema["paths"].values() for each in path.values()
        ):
            if any(parameter["name"] == "format" for parameter in operation.get("parameters", ())):
                operation["responses"]["200"]["content"][JSON_LINES] = {
                    "schema": {"type": "string"}
                }
        return super().render(request, openapi_schema)


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Return what the schema says of a route's problems."""
    return {
        status: ResponseSpec(
            ProblemDocument,
            description=_WHY[status],
            media_type=PROBLEM_TYPE,
            generate_examples=False,
        )
        for status in statuses
    }


def answers(kind: Any, *problem_statuses: int) -> dict[int, ResponseSpec]:
    """Return what the schema says of a route: what it answers, as JSON, and its problems."""
    answer = ResponseSpec(
        kind, description="The answer", media_type=MediaType.JSON, generate_examples=False
    )
    return {200: answer} | problems(*problem_statuses)


def json_answer(value: object) -> Response[bytes]:
    """Answer with JSON."""
    return Response(encode(value), media_type="application/json", headers=FRESH)
