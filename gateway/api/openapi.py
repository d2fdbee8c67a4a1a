"""The OpenAPI 3.1 document, made from the operations and from the very models that validate."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.api.operation import AnyOperation, OrgParams
from gateway.api.problem import MEDIA_TYPE, Problem
from gateway.identity.roles import ACTIONS

REF = "#/components/schemas/{model}"
_PATH_PARAM = re.compile(r"\{(\w+)\}")
_ALWAYS = (400, 401, 403, 429, 500, 503)
_WITH_BODY = (408, 413, 415)
_MEANING: Mapping[int, str] = {
    400: "Something that was sent cannot be: `errors` names every fault.",
    401: "No credential, or one that is not known, revoked or expired.",
    402: "A limit or the balance does not allow it.",
    403: "The role of the caller does not allow it.",
    404: "There is no such thing within reach.",
    408: "The body did not arrive in time.",
    409: "It is not possible as things stand.",
    410: "It was there, and is no longer.",
    413: "The body is too large.",
    415: "The body has a content-encoding.",
    422: "It was understood, but cannot be done.",
    429: "Too many calls: wait for `retry-after` seconds.",
    500: "A mistake of the gateway's; `request_id` finds it in the log.",
    501: "The gateway is not configured for this: `detail` says what is missing.",
    503: "A store does not answer: try again after `retry-after` seconds.",
}
Mode = Literal["validation", "serialization"]
Schemas = Mapping[tuple[type[BaseModel], Mode], dict[str, Any]]


def openapi(operations: Sequence[AnyOperation], version: str) -> dict[str, Any]:
    """The document as JSON values."""
    schemas, components = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(
            operation, schemas, components
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tollgate",
            "version": version,
            "summary": "Credits, limits and usage of AI APIs.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"key": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A Tollgate key, or the admin token.",
                },
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _schemas(operations: Iterable[AnyOperation]) -> tuple[Schemas, dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], Mode], None] = {(Problem, "serialization"): None}
    for operation in operations:
        wanted[operation.params, "validation"] = None
        if operation.has_body:
            wanted[operation.body, "validation"] = None
        if operation.reply is not None:
            wanted[operation.reply, "serialization"] = None
    schemas, document = models_json_schema(list(wanted), ref_template=REF)
    return schemas, document.get("$defs", {})  # type: ignore[return-value]


def _operation(operation: AnyOperation, schemas: Schemas, components: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        # Who may, so that a test (and a page) can ask for it: how far each role's right reaches.
        "x-tollgate-action": operation.action.value,
        "x-tollgate-roles": {
            role.value: extent.name.lower() for role, extent in ACTIONS[operation.action].items() if extent
        },
        "parameters": [*_parameters(operation, schemas, components), *_headers(operation)],
        "responses": _responses(operation, schemas),
    }
    if operation.description:
        described["description"] = operation.description
    if operation.has_body:
        content: dict[str, Any] = {"schema": schemas[operation.body, "validation"]}
        if operation.example is not None:
            content["example"] = operation.example
        required = any(field.is_required() for field in operation.body.model_fields.values())
        described["requestBody"] = {"required": required, "content": {"application/json": content}}
    return described


def _parameters(
    operation: AnyOperation, schemas: Schemas, components: dict[str, Any]
) -> list[dict[str, Any]]:
    model = _resolved(schemas[operation.params, "validation"], components)
    in_path = set(_PATH_PARAM.findall(operation.path))
    parameters = []
    for name, schema in model.get("properties", {}).items():
        place = "path" if name in in_path else "query"
        parameter = {
            "name": name,
            "in": place,
            "required": place == "path" or name in model.get("required", ()),
            "schema": _without_null(schema),
        }
        if description := schema.get("description"):
            parameter["description"] = description
        parameters.append(parameter)
    return parameters


def _headers(operation: AnyOperation) -> list[dict[str, Any]]:
    if not operation.idempotent:
        return []
    return [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "Send it again with the same request to get the first answer again, doing nothing twice.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"},
        }
    ]


def _responses(operation: AnyOperation, schemas: Schemas) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    content: dict[str, Any] = {}
    if operation.reply is not None:
        content["application/json"] = {"schema": schemas[operation.reply, "serialization"]}
    for media in operation.media:
        # Events and documents have no JSON schema; of text it can at least be said that it is text.
        schema = {"type": "string"} if media in ("text/csv", "text/plain") else {}
        content.setdefault(media, {"schema": schema})
    if content:
        responses[str(operation.status)] = {"description": operation.summary, "content": content}
    else:
        responses["204"] = {"description": "Done."}
    problem = {MEDIA_TYPE: {"schema": schemas[Problem, "serialization"]}}
    # The organisation that an administrator names may not be there.
    nowhere = (404,) if issubclass(operation.params, OrgParams) else ()
    # Even an operation without a body reads one that should not be there.
    for status in sorted({*_ALWAYS, *_WITH_BODY, *nowhere, *operation.errors}):
        responses[str(status)] = {"description": _MEANING[status], "content": problem}
    return responses


def _resolved(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """The schema that a lone ``$ref`` names, which then need not stand among the components."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = components.get(name, schema)
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is there or not; it cannot be null."""
    schema = {name: value for name, value in schema.items() if name not in ("title", "description")}
    if schema.get("default", 0) is None:
        del schema["default"]
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if "anyOf" in schema:
        del schema["anyOf"]
        schema = {**choices[0], **schema} if len(choices) == 1 else {**schema, "anyOf": choices}
    return schema


def add_document(add: Any, operations: Sequence[AnyOperation], version: str) -> None:
    """Serve the document itself, to anyone: it says nothing that is not public."""
    document = web.json_response(openapi(operations, version)).body

    async def handler(_: web.BaseRequest, __: Mapping[str, str]) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    add("GET", "/api/openapi.json", handler)
