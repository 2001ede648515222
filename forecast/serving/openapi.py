"""The OpenAPI document of a server: what the model that is served takes and what every reply may be."""

from collections.abc import Sequence
from typing import Any, Final

from forecast import __version__
from forecast.ledger import REASONS, STATUSES
from forecast.serving.model import Model
from forecast.serving.reading import LEVELS, LONGEST, ON_BAD, Limits
from forecast.serving.shape import Shape

Schema = dict[str, Any]
TEXT: Final[Schema] = {"type": "string"}
MAYBE: Final[Schema] = {"type": ["string", "null"]}
NUMBER: Final[Schema] = {"type": "number"}
CELL: Final[Schema] = {"type": ["number", "null"]}
REFUSALS: Final = {
    400: "The body is no JSON, or the request no HTTP.", 401: "The token is missing or another.",
    403: "The host or the page that asks is not served.", 404: "There is no such path, or not for this model.",
    405: "The path knows other methods.", 408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is packed.", 422: "The request has another form, or on_bad is error and a series is bad.",
    429: "The client sends too many requests.", 500: "A defect of the server.",
    503: "The queue is full, or the server begins or ends.", 504: "More was asked than could be done in time.",
}  # fmt: skip
OF_ALL: Final = (400, 403, 500, 503)  # that any path may reply with
OF_BODIES: Final = (404, 408, 413, 415, 422, 429, 504)
TITLES: Final = {
    "forecast": "The steps after the end of each series", "classify": "The class of each series",
    "event": "The next event of each sequence",
}  # fmt: skip
KEYS: Final = {"forecast": "forecasts", "classify": "classes", "event": "events"}


def document(model: Model, limits: Limits, most: int, *, closed: bool) -> Schema:
    """closed: whether a token is asked for; most: bytes of a body."""
    paths = {
        model.path: {"post": _asked(model, limits, most, closed)},
        "/v1/model": {"get": _read("The model that answers", "Facts", closed)},
        "/openapi.json": {"get": _read("This document", "Document", closed)},
        "/healthz": {"get": _read("Whether the process is alive", "Alive", False)},
        "/readyz": {"get": _read("Whether a model is ready to answer", "Ready", False)},
        "/metrics": {"get": _metrics(closed)},
    }
    made: Schema = {
        "openapi": "3.1.0",
        "info": {"title": f"forecast serve: {model.predictor.name}", "version": __version__},
        "paths": paths,
        "components": {"schemas": _schemas(model, limits)},
    }
    if closed:
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return made


def _asked(model: Model, limits: Limits, most: int, closed: bool) -> Schema:
    about = (
        f"At most {limits.series:,} series in a request of {most:,} bytes. A series that is bad has the status "
        "quarantined and a reason; it touches no other. Reasons, and what to do:\n"
        + "\n".join(f"- `{code}`: {do}" for code, do in REASONS.items())
    )
    return {
        "operationId": model.task, "summary": TITLES[model.task], "description": about,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("Request")}}},
        "responses": {"200": _reply("What is said of each series", "Reply"), **_refused((*OF_ALL, *OF_BODIES), closed)},
        **({"security": [{"token": []}]} if closed else {}),
    }  # fmt: skip


def _read(title: str, schema: str, closed: bool) -> Schema:
    return {
        "summary": title, "responses": {"200": _reply(title, schema), **_refused(OF_ALL, closed)},
        **({"security": [{"token": []}]} if closed else {}),
    }  # fmt: skip


def _metrics(closed: bool) -> Schema:
    reply = {"description": "Text for Prometheus", "content": {"text/plain": {"schema": TEXT}}}
    return {
        "summary": "What a server tells Prometheus", "responses": {"200": reply, **_refused(OF_ALL, closed)},
        **({"security": [{"token": []}]} if closed else {}),
    }  # fmt: skip


def _refused(codes: Sequence[int], closed: bool) -> Schema:
    found = {str(code): _reply(REFUSALS[code], "Error") for code in sorted({*codes, *((401,) if closed else ())})}
    for code in ("429", "503"):
        if code in found:
            found[code]["headers"] = {"Retry-After": {"schema": {"type": "string"}, "description": "seconds"}}
    return found


def _reply(about: str, schema: str) -> Schema:
    return {"description": about, "content": {"application/json": {"schema": _ref(schema)}}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(needed: Schema, optional: Schema | None = None, **more: Any) -> Schema:
    return {
        "type": "object", "properties": {**needed, **(optional or {})}, "required": list(needed),
        "additionalProperties": False, **more,
    }  # fmt: skip


def _listed(item: Schema, most: int | None = None, least: int = 0) -> Schema:
    return {"type": "array", "items": item, "minItems": least, **({} if most is None else {"maxItems": most})}


def _schemas(model: Model, limits: Limits) -> Schema:
    shape = model.shape
    return {
        "Request": _request(model, limits),
        "Series": _series(shape, limits),
        "Row": _row(shape),
        "Reply": _object({
            "run": TEXT, "name": MAYBE, "version": MAYBE, KEYS[model.task]: _listed(_ref("Answer")),
        }),
        "Answer": _answer(model),
        "Error": _object({"error": TEXT}),
        "Alive": _object({"alive": {"const": True}}),
        "Ready": _object({"ready": {"const": True}}),
        "Document": {"type": "object", "required": ["openapi", "info", "paths"]},
        "Facts": _facts(model),
    }  # fmt: skip


def _request(model: Model, limits: Limits) -> Schema:
    shape = model.shape
    optional: Schema = {"on_bad": {"enum": list(ON_BAD), "default": "quarantine"}}
    if shape.task != "classify" and model.levels:
        level = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
        optional["levels"] = {"anyOf": [{**_listed(level, LEVELS), "uniqueItems": True}, {"type": "null"}]}
    if shape.task == "forecast":
        optional["horizon"] = {"type": ["integer", "null"], "minimum": 1, "maximum": shape.horizon}
    if shape.task == "event":
        optional["now"] = {**(MAYBE if shape.clock == "stamps" else CELL), "description": "nothing came until then"}
    series = _object({"series": _listed(_ref("Series"), limits.series, 1)}, optional)
    rows = _object({"rows": _listed(_ref("Row"), limits.series * limits.steps, 1)}, optional)
    return {"oneOf": [series, rows]}


def _series(shape: Shape, limits: Limits) -> Schema:
    """Of each way to write times, and of each to write values, one."""
    name = {"unique_id": {"type": "string", "minLength": 1, "maxLength": LONGEST}}
    always, may = (name, {}) if shape.id is not None else ({}, name)
    cells = _listed(CELL, limits.steps, 1)
    mixed = {"anyOf": [cells, _listed(MAYBE, limits.steps, 1)]}
    if shape.known:
        may["known"] = _object({}, dict.fromkeys(shape.known, mixed))
    if shape.static:
        may["static"] = _object({}, dict.fromkeys(shape.static, {"type": ["number", "string", "null"]}))
    if shape.mark is not None:
        always = always | {"mark": _listed(TEXT, limits.steps, 1)}
    rest = {name: cells for name in shape.numbers if name not in shape.needed} | dict.fromkeys(shape.others, mixed)
    values = _object({name: cells for name in shape.needed}, rest)
    ways: list[Schema] = [{"values": values}] if shape.needed else [{}]
    if shape.one is not None:
        ways.append({"y": cells})
    clocks: list[tuple[Schema, Schema]] = [({}, {})]
    if shape.clock != "none":
        clocks = [({"ds": _listed(TEXT if shape.clock == "stamps" else NUMBER, limits.steps, 1)}, {})]
    if shape.freq is not None:
        clocks.append(({"start": TEXT}, {"freq": MAYBE}))
    forms = [_object(always | way | clock, may | more) for way in ways for clock, more in clocks]
    return forms[0] if len(forms) == 1 else {"oneOf": forms}


def _row(shape: Shape) -> Schema:
    """A step of a series."""
    name = {"unique_id": {"type": "string", "minLength": 1, "maxLength": LONGEST}}
    always, may = (name, {}) if shape.id is not None else ({}, name)
    if shape.clock != "none":
        always = always | {"ds": TEXT if shape.clock == "stamps" else NUMBER}
    if shape.mark is not None:
        always = always | {"mark": TEXT}
    cells = dict.fromkeys(shape.needed, CELL)
    return _object(always | cells, may)


def _answer(model: Model) -> Schema:
    said = {
        "unique_id": TEXT, "status": {"enum": list(STATUSES)}, "reason": {"enum": [*REASONS, None]}, "detail": MAYBE,
    }  # fmt: skip
    share = {"type": "object", "additionalProperties": CELL}
    if model.task == "classify":
        return _object({**said, "label": MAYBE, "p": CELL, "probabilities": share})
    time: Schema = MAYBE if model.shape.clock == "stamps" else CELL
    if model.task == "event":
        return _object({
            **said, "last": time, "cutoff": time, "ds": time, "mean": CELL, "median": CELL, "quantiles": share,
            "mark": MAYBE, "probabilities": share,
        })  # fmt: skip
    horizon = model.shape.horizon
    numbers = _listed(CELL, horizon)
    return _object({
        **said, "channel": {"enum": [*model.facts["targets"], None]}, "cutoff": MAYBE, "ds": _listed(TEXT, horizon),
        "y_hat": numbers, "quantiles": {"type": "object", "additionalProperties": numbers},
    })  # fmt: skip


def _facts(model: Model) -> Schema:
    kinds: dict[type, Schema] = {str: TEXT, int: {"type": "integer"}, list: {"type": "array"}, type(None): MAYBE}
    return _object({key: kinds[type(value)] for key, value in model.facts.items()})
