"""The service's HTTP interface: `/v1/predict`, `/v1/models`, `/v1/messages`, `/healthz`, and the page."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.background import BackgroundTask
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from covidmt.prediction.answer import NOTICE
from covidmt.prediction.predictor import ExplainedImage
from covidmt.serving.guards import LimitBody, bearer, same, security_headers
from covidmt.serving.messages import Conversation, Platform
from covidmt.serving.page import answer_page, form_page
from covidmt.serving.replies import Failure, FilmReply, MessageReply
from covidmt.serving.service import FilmService, UnknownKind, record_of
from covidmt.serving.uploads import BASE64, FILE, Json, Upload, parse_json, read_upload
from experiments.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServeSettings:
    """How the service is reached.

    Attributes:
        model: What `/v1/models` says of the network.
        token: What clients must know; None: nothing, on this machine alone.
        most: Bytes of a request.
        platforms: The messaging platforms.
    """

    model: Json = field(default_factory=dict)
    token: str | None = None
    most: int = 32 * 2**20
    platforms: Sequence[Platform] = ()


class Refusal(Exception):
    """A request that is not answered, with the status and the reason."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


_FILM = {"type": "string", "format": "binary", "description": "PNG, JPEG or DICOM"}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FILE],
                    "properties": {FILE: _FILM, "pictures": {"type": "string", "enum": ["true"]}},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": [BASE64],
                    "properties": {
                        BASE64: {"type": "string", "description": "base64"},
                        "pictures": {"type": "boolean"},
                    },
                }
            },
        },
    }
}
_FAILURES: dict[int | str, Json] = {code: {"model": Failure} for code in (400, 401, 403, 408, 413, 415)}


def make_app(service: FilmService, settings: ServeSettings) -> FastAPI:
    """Return the application; it warms the service up when it starts, and closes it when all requests are done."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        service.warm_up()
        yield
        service.close()

    app = FastAPI(
        title="covidmt", description=NOTICE, version="1", lifespan=lifespan,
        docs_url=None, redoc_url=None,  # they would load scripts from elsewhere
    )  # fmt: skip
    app.add_middleware(LimitBody, most=settings.most)
    if settings.token is None:  # another site's name that leads here must not be answered
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1"])
    conversation = Conversation(service)

    @app.middleware("http")
    async def add_headers(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        response.headers.update(security_headers())
        return response

    @app.exception_handler(Refusal)
    async def refuse(_: Request, refusal: Refusal) -> Response:
        return JSONResponse({"error": refusal.text}, refusal.status)

    @app.get("/healthz", summary="Is it up?")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models", summary="The network that answers", responses=_FAILURES)
    async def models(request: Request) -> Json:
        _require_token(bearer(request), settings)
        return {"models": [settings.model]}

    @app.post(
        "/v1/predict",
        summary="A film in, the answer out",
        openapi_extra=_BODY,
        responses={200: {"model": FilmReply}, **_FAILURES},
    )
    async def predict(request: Request) -> Response:
        _require_token(bearer(request), settings)
        upload, explained = await _answer(request)
        record = record_of(explained)
        if upload.fields.get("pictures", "").lower() == "true":
            pictures = await service.pictures(explained)
            record["pictures"] = {each.title: base64.b64encode(each.jpeg).decode() for each in pictures}
        return JSONResponse(record)

    network = str(settings.model["title"])

    @app.get("/", include_in_schema=False)
    async def form() -> Response:
        return HTMLResponse(form_page(network, settings.token is not None))

    @app.post("/", include_in_schema=False)
    async def answer_form(request: Request) -> Response:
        try:
            _, explained = await _answer(request, token_in_form=True)
        except Refusal as refusal:
            return HTMLResponse(form_page(network, settings.token is not None, refusal.text), refusal.status)
        pictures = await service.pictures(explained)
        return HTMLResponse(answer_page(network, explained.prediction, pictures))

    @app.get("/v1/messages", summary="A platform asks whether this webhook is the right one")
    async def verify(request: Request) -> Response:
        for platform in settings.platforms:
            challenge = platform.challenge(dict(request.query_params))
            if challenge is not None:
                return PlainTextResponse(challenge)
        raise Refusal(403, "no platform asks like this")

    @app.post(
        "/v1/messages",
        summary="A messaging platform's webhook; or a film in, the doctor's message and its picture out",
        openapi_extra=_BODY,
        responses={200: {"model": MessageReply}, **_FAILURES},
    )
    async def messages(request: Request) -> Response:
        for platform in settings.platforms:
            if platform.signature in request.headers:
                body = await request.body()
                if not platform.is_signed(body, request.headers[platform.signature]):
                    raise Refusal(401, "the signature is wrong")
                films = platform.films(_json(body))
                return JSONResponse({}, background=BackgroundTask(conversation.answer, platform, films))

        # anybody else's, in one request
        _require_token(bearer(request), settings)
        _, explained = await _answer(request)
        picture = await service.report_picture(explained)
        text = f"{explained.prediction.record()['report']} {NOTICE}"
        return JSONResponse({"text": text, "picture": base64.b64encode(picture).decode()})

    async def _answer(request: Request, *, token_in_form: bool = False) -> tuple[Upload, ExplainedImage]:
        _require_same_origin(request)
        try:
            upload = await read_upload(request, settings.most)
            if token_in_form:
                _require_token(bearer(request) or upload.fields.get("token"), settings)
            explained = await service.answer(upload.content)
        except UnknownKind as error:
            raise Refusal(415, str(error)) from error
        except UserError as error:
            raise Refusal(400, str(error)) from error
        return upload, explained

    return app


def _require_token(given: str | None, settings: ServeSettings) -> None:
    if settings.token is not None and not same(given, settings.token):
        raise Refusal(401, "the token is missing or wrong")


def _require_same_origin(request: Request) -> None:
    """Refuse a form that another site's page sends here."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Refusal(403, "this page belongs to another site")


def _json(body: bytes) -> Json:
    try:
        return parse_json(body)
    except UserError as error:
        raise Refusal(400, str(error)) from error
