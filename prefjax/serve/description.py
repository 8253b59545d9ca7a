"""The OpenAPI description of the server, from its routes and the models of their bodies."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from prefjax.serve.routes import Route

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}
_MEANING = {
    "400": "The body is no JSON.",
    "401": "The token is missing or wrong.",
    "404": "There is no such person.",
    "408": "The request took too long.",
    "409": "The id is taken, another question is open, or this model cannot take the person over.",
    "413": "The body is too large.",
    "415": "The body is not declared to be application/json.",
    "421": "The server does not answer for the host of the request.",
    "422": "The id or something in the body is not legal.",
    "503": "The store is busy or cannot be reached, or the request takes long.",
}


def describe_api(routes: tuple[Route, ...], version: str, *, needs_token: bool) -> dict[str, Any]:
    """The description of every route.

    Args:
        routes: Of the server.
        version: Of this package.
        needs_token: Whether requests carry a bearer token.
    """
    models = [
        model for route in routes for model in (route.body, route.answer) if model is not None
    ]
    _, schemas = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    components: dict[str, Any] = {"schemas": schemas.get("$defs", {}) | {"Error": _ERROR}}
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "prefjax", "version": version},
        "paths": paths,
        "components": components,
    }
    if needs_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
    return described


def _operation(route: Route) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    codes = route.errors + (() if route.body is None else ("400", "413", "415", "422"))
    codes += ("422",) if "{person}" in route.path else ()
    responses: dict[str, Any] = {str(route.status): {"description": route.summary}}
    if route.status != 204:
        responses[str(route.status)]["content"] = (
            {"text/plain": {"schema": {"type": "string"}}}
            if route.answer is None
            else {"application/json": {"schema": _reference(route.answer)}}
        )
    responses |= {
        code: {"description": _MEANING[code], "content": error}
        for code in dict.fromkeys((*codes, "401", "408", "421", "503"))
    }
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": responses,
    }
    parameters = []
    if "{person}" in route.path:
        parameters.append(
            {
                "name": "person",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "minLength": 1, "maxLength": 200},
            }
        )
    if route.is_idempotent:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "schema": {"type": "string", "minLength": 1, "maxLength": 200},
            }
        )
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(route.body)}},
        }
    return operation


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
