"""Responses: how endpoints write them, and how the OpenAPI document describes them."""

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
NO_STORE = {"cache-control": "no-store"}

READ: list[Method] = ["GET", "HEAD"]
"""RFC 9110, 9.1: a resource that supports GET must support HEAD."""

_DESCRIPTIONS = {
    400: "The request is invalid; `detail` says how to correct it",
    403: "A page of another site may not send this request",
    404: "Not found",
    409: "No instance is listening for commands",
    413: "The request is too large",
    415: "The body is not JSON, or its Content-Type is not application/json",
    422: "The request is well-formed, but it cannot be carried out",
    429: "Too many commands have no result yet; Retry-After says when to try again",
    503: "Redis cannot be reached, or the board cannot see it; Retry-After says when to try again",
}


class ProblemDocument(msgspec.Struct):
    """An error (RFC 9457). `code` is stable; some codes have members of their own."""

    type: str
    title: str
    status: int
    code: str
    detail: str


class RawJsonSchema(OpenAPISchemaPlugin):
    """Describes a value that is kept as JSON text as any JSON."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        return field_definition.annotation is msgspec.Raw

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        return Schema(description="Any JSON")

    @staticmethod
    def is_undefined_sentinel(value: Any) -> bool:
        return value is msgspec.UNSET


class OpenApiDocument(JsonRenderPlugin):
    """Renders the OpenAPI document with two facts that the framework cannot express.

    The bodies in `strict` allow no unknown members, and endpoints with a `format` also return JSON
    Lines.
    """

    def __init__(self, path: str, *strict: type[msgspec.Struct]) -> None:
        super().__init__(path=path)
        self._strict = [kind.__name__ for kind in strict]

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        for name in self._strict:
            openapi_schema["components"]["schemas"][name]["additionalProperties"] = False
        operations = (each for path in openapi_schema["paths"].values() for each in path.values())
        for operation in operations:
            if any(parameter["name"] == "format" for parameter in operation.get("parameters", ())):
                operation["responses"]["200"]["content"][JSON_LINES] = {
                    "schema": {"type": "string"}
                }
        return super().render(request, openapi_schema)


def describe_problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Return the OpenAPI description of an endpoint's problem documents."""
    return {
        status: ResponseSpec(
            ProblemDocument,
            description=_DESCRIPTIONS[status],
            media_type=PROBLEM_TYPE,
            generate_examples=False,
        )
        for status in statuses
    }


def describe_responses(kind: Any, *problem_statuses: int) -> dict[int, ResponseSpec]:
    """Return the OpenAPI description of a JSON response and of an endpoint's problems."""
    response = ResponseSpec(
        kind, description="The response", media_type=MediaType.JSON, generate_examples=False
    )
    return {200: response} | describe_problems(*problem_statuses)


def json_response(value: object) -> Response[bytes]:
    """Return a JSON response that no cache keeps."""
    return Response(encode(value), media_type="application/json", headers=NO_STORE)
