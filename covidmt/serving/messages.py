"""The webhook of messaging platforms: an image message in, the doctor's message and its picture back.

A platform's requests are believed by their signature alone. What it needs is read from the environment, so that no
command line shows a secret.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeAlias

import requests
from starlette.concurrency import run_in_threadpool

from covidmt.prediction.answer import NOTICE
from covidmt.serving.guards import same
from covidmt.serving.service import FilmService
from covidmt.serving.uploads import Json
from experiments.errors import UserError

log = logging.getLogger(__name__)

SECONDS = 30.0  # for a platform's answer
Payload: TypeAlias = Mapping[str, Any]  # of a request: nothing in it is sure
LARGEST = 32 * 2**20  # bytes of a film
REMEMBERED = 10_000  # messages: platforms send one again that was not confirmed in time
HINT = "Send one chest X-ray as a picture or as a file (PNG, JPEG or DICOM); the answer comes back here."


class IncomingFilm(NamedTuple):
    """A message.

    Attributes:
        message: The platform's id of it.
        chat: Where the answer goes.
        media: The platform's id of the image; None: the message has none.
    """

    message: str
    chat: str
    media: str | None


class Platform(Protocol):
    """A messaging platform.

    Attributes:
        name: What messages call it.
        signature: The header that its requests have.
    """

    name: ClassVar[str]
    signature: ClassVar[str]

    def is_signed(self, body: bytes, signature: str) -> bool:
        """Return whether a request is the platform's."""
        ...

    def challenge(self, query: Mapping[str, str]) -> str | None:
        """Return what the platform wants to hear when the webhook is set up; None: it does not ask like this."""
        ...

    def films(self, payload: Payload) -> list[IncomingFilm]:
        """Return the messages of a payload; what is no message is passed over."""
        ...

    def fetch(self, film: IncomingFilm) -> bytes:
        """Return the image's file."""
        ...

    def reply(self, film: IncomingFilm, text: str, picture: bytes | None) -> None:
        """Send the answer, a JPEG beside it."""
        ...


class WhatsApp:
    """The WhatsApp Cloud API.

    Args:
        url: The Graph API with its version.
        token: Access token of the business account.
        app_secret: Signs the requests.
        verify_token: What it must say when the webhook is set up.

    Example:
        >>> platform = WhatsApp("https://graph", "token", "secret", "hello")
        >>> platform.is_signed(b"{}", "sha256=" + hmac.new(b"secret", b"{}", "sha256").hexdigest())
        True
        >>> platform.challenge({"hub.mode": "subscribe", "hub.verify_token": "hello", "hub.challenge": "42"})
        '42'
    """

    name: ClassVar[str] = "whatsapp"
    signature: ClassVar[str] = "x-hub-signature-256"

    def __init__(self, url: str, token: str, app_secret: str, verify_token: str) -> None:
        self._url = url.rstrip("/")
        self._secret, self._verify_token = app_secret, verify_token
        self._bearer = {"authorization": f"Bearer {token}"}
        self._senders: dict[str, str] = {}  # chat -> the business's number that was written to

    def is_signed(self, body: bytes, signature: str) -> bool:
        """Return whether the body's HMAC is the header's."""
        return same(signature, f"sha256={hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()}")

    def challenge(self, query: Mapping[str, str]) -> str | None:
        """Return the challenge of who knows the verify token."""
        asked = query.get("hub.mode") == "subscribe" and same(query.get("hub.verify_token"), self._verify_token)
        return query.get("hub.challenge", "") if asked else None

    def films(self, payload: Payload) -> list[IncomingFilm]:
        """Return the messages of all entries."""
        films = []
        for change in _dicts(payload, "entry", "changes"):
            value = _dict(change, "value")
            number = str(_dict(value, "metadata").get("phone_number_id", ""))
            for message in _dicts(value, "messages"):
                media = _dict(message, str(message.get("type"))).get("id")
                chat = str(message.get("from", ""))
                if _is_id(number) and _is_id(chat):
                    self._senders[chat] = number
                    films.append(IncomingFilm(str(message.get("id")), chat, str(media) if media else None))
        return films

    def fetch(self, film: IncomingFilm) -> bytes:
        """Return the media's file: its address is asked for first."""
        if not _is_id(film.media):
            raise UserError("the media's id is none")
        address = _checked(requests.get(f"{self._url}/{film.media}", headers=self._bearer, timeout=SECONDS)).json()
        return _download(str(address["url"]), self._bearer)

    def reply(self, film: IncomingFilm, text: str, picture: bytes | None) -> None:
        """Send the text as the answer to the message, then the picture."""
        address = f"{self._url}/{self._senders[film.chat]}"
        common = {"messaging_product": "whatsapp", "to": film.chat}
        contents: list[Json] = [
            {"type": "text", "text": {"body": text[:4096]}, "context": {"message_id": film.message}}
        ]
        if picture is not None:
            files = {"file": ("answer.jpg", picture, "image/jpeg")}
            form = {"messaging_product": "whatsapp", "type": "image/jpeg"}
            sent = requests.post(f"{address}/media", headers=self._bearer, data=form, files=files, timeout=SECONDS)
            contents.append({"type": "image", "image": {"id": _checked(sent).json()["id"], "caption": NOTICE[:1024]}})
        for content in contents:
            _checked(requests.post(f"{address}/messages", headers=self._bearer, json=common | content, timeout=SECONDS))


class Telegram:
    """The Telegram Bot API.

    Args:
        url: The Bot API.
        token: The bot's.
        secret: The ``secret_token`` of ``setWebhook``.

    Example:
        >>> Telegram("https://api", "1:a", "secret").is_signed(b"{}", "secret")
        True
    """

    name: ClassVar[str] = "telegram"
    signature: ClassVar[str] = "x-telegram-bot-api-secret-token"

    def __init__(self, url: str, token: str, secret: str) -> None:
        self._url, self._token, self._secret = url.rstrip("/"), token, secret

    def is_signed(self, body: bytes, signature: str) -> bool:
        """Return whether the header is the secret."""
        return same(signature, self._secret)

    def challenge(self, query: Mapping[str, str]) -> str | None:
        """Return None: it does not ask."""
        return None

    def films(self, payload: Payload) -> list[IncomingFilm]:
        """Return the update's message: the largest of a photo's sizes, or the document."""
        message = _dict(payload, "message")
        chat = _dict(message, "chat").get("id")
        if not isinstance(chat, int):
            return []
        sizes = [size for size in _dicts(message, "photo") if isinstance(size.get("width"), int)]
        largest = max(sizes, key=lambda size: size["width"], default=_dict(message, "document"))
        media = largest.get("file_id")
        return [IncomingFilm(f"{chat}/{message.get('message_id')}", str(chat), str(media) if media else None)]

    def fetch(self, film: IncomingFilm) -> bytes:
        """Return the file: its path is asked for first."""
        answer = _checked(
            requests.get(f"{self._url}/bot{self._token}/getFile", params={"file_id": film.media}, timeout=SECONDS)
        )
        path = str(answer.json()["result"]["file_path"])
        if not re.fullmatch(r"[\w-]+(/[\w-][\w.-]*)*", path):
            raise UserError("the file's path is none")
        return _download(f"{self._url}/file/bot{self._token}/{path}", {})

    def reply(self, film: IncomingFilm, text: str, picture: bytes | None) -> None:
        """Send the text as the answer to the message, then the picture."""
        address, message = f"{self._url}/bot{self._token}", int(film.message.rpartition("/")[2])
        body = {"chat_id": film.chat, "text": text[:4096], "reply_parameters": {"message_id": message}}
        _checked(requests.post(f"{address}/sendMessage", json=body, timeout=SECONDS))
        if picture is not None:
            files = {"photo": ("answer.jpg", picture, "image/jpeg")}
            form = {"chat_id": film.chat, "caption": NOTICE[:1024]}
            _checked(requests.post(f"{address}/sendPhoto", data=form, files=files, timeout=SECONDS))


class Conversation:
    """Answer the films of messages, each message once.

    Args:
        service: Answers the films.
    """

    def __init__(self, service: FilmService) -> None:
        self._service = service
        self._answered: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def answer(self, platform: Platform, films: Sequence[IncomingFilm]) -> None:
        """Answer messages one after the other; what goes wrong with one is told to its sender, and logged."""
        for film in films:
            key = (platform.name, film.message)
            if key in self._answered:
                continue
            self._answered[key] = None
            if len(self._answered) > REMEMBERED:
                self._answered.popitem(last=False)
            try:
                text, picture = await self._message(platform, film)
                await run_in_threadpool(platform.reply, film, text, picture)
            except Exception as error:  # addresses in it hold tokens
                log.warning("A message of %s was not answered (%s)", platform.name, type(error).__name__)

    async def _message(self, platform: Platform, film: IncomingFilm) -> tuple[str, bytes | None]:
        if film.media is None:
            return HINT, None
        try:
            content = await run_in_threadpool(platform.fetch, film)
            explained = await self._service.answer(content)
        except UserError as error:
            return f"{error}. {HINT}", None
        report = explained.prediction.record()["report"]
        return f"{report}\n\n{NOTICE}", await self._service.report_picture(explained)


class _Variables(NamedTuple):
    """The environment variables of a platform."""

    kind: type[WhatsApp] | type[Telegram]
    names: tuple[str, ...]

    def read(self, environment: Mapping[str, str]) -> Platform | None:
        given = [name for name in self.names if environment.get(name)]
        if not given:
            return None
        missing = [name for name in self.names if name not in given]
        if missing:
            raise UserError(f"{given[0]} is set, but not {', '.join(missing)}: the {self.kind.name} webhook needs all")
        return self.kind(*(environment[name] for name in self.names))

    @classmethod
    def of(cls, kind: type[WhatsApp] | type[Telegram], *endings: str) -> Self:
        return cls(kind, tuple(f"COVIDMT_{kind.name.upper()}_{ending}" for ending in endings))


_PLATFORMS = (
    _Variables.of(WhatsApp, "URL", "TOKEN", "APP_SECRET", "VERIFY_TOKEN"),
    _Variables.of(Telegram, "URL", "TOKEN", "SECRET"),
)


def read_platforms(environment: Mapping[str, str] = os.environ) -> list[Platform]:
    """Return the platforms whose variables are set.

    Raises:
        UserError: Some of a platform's are set, and some are not.

    Example:
        >>> read_platforms({})
        []
        >>> read_platforms({"COVIDMT_TELEGRAM_URL": "https://api"})
        Traceback (most recent call last):
        experiments.errors.UserError: COVIDMT_TELEGRAM_URL is set, but not COVIDMT_TELEGRAM_TOKEN, ...
    """
    platforms = [variables.read(environment) for variables in _PLATFORMS]
    return [platform for platform in platforms if platform is not None]


def _download(url: str, headers: Mapping[str, str]) -> bytes:
    """Return a file's bytes, no more than a film's."""
    with _checked(requests.get(url, headers=headers, timeout=SECONDS, stream=True)) as response:
        content = b""
        for chunk in response.iter_content(2**16):
            content += chunk
            if len(content) > LARGEST:
                raise UserError("the file is too large")
        return content


def _checked(response: requests.Response) -> requests.Response:
    response.raise_for_status()
    return response


def _is_id(text: str | None) -> bool:
    """Return whether a text can stand in an address."""
    return re.fullmatch(r"\w{1,100}", text or "", flags=re.ASCII) is not None


def _dict(values: Payload, key: str) -> Payload:
    value = values.get(key)
    return value if isinstance(value, dict) else {}


def _dicts(values: Payload, *keys: str) -> list[Payload]:
    """Return the objects in lists of lists below some keys; what has another shape is passed over."""
    level: list[Payload] = [values]
    for key in keys:
        lists = [each.get(key) for each in level]
        level = [item for found in lists if isinstance(found, list) for item in found if isinstance(item, dict)]
    return level
