"""Who may ask, and how much may be sent: looked at before anything else is done with a request."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from experiments.errors import UserError
from experiments.paths import expand

SHORTEST_TOKEN = 16  # characters
SECONDS = 60.0  # in which a request must have been sent
_LINGER = 2.0  # seconds in which what is too large is read and thrown away, so that its sender gets to the answer


class TooLarge(Exception):
    """More bytes were sent than are taken."""


class TooSlow(Exception):
    """A request took too long to arrive."""


class LimitBody:
    """Middleware: refuse a body that is too large or too slow, whatever its headers say of it.

    Args:
        app: What answers.
        most: Bytes of a body.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        # what the headers say
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.most:
            await self._refuse(scope, receive, send, 413, f"at most {self.most // 2**20} MB are taken")
            return

        # what comes
        end = asyncio.get_running_loop().time() + SECONDS
        count, started, complete = 0, False, False

        async def counted() -> Message:
            nonlocal count, complete
            if complete:
                return await receive()  # waits for the client to leave
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError as error:
                raise TooSlow from error
            count += len(message.get("body", b""))
            complete = message["type"] == "http.request" and not message.get("more_body", False)
            if count > self.most:
                raise TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except (TooLarge, TooSlow) as error:
            if started:
                raise
            large = isinstance(error, TooLarge)
            text = f"at most {self.most // 2**20} MB are taken" if large else f"it took over {SECONDS:.0f} s to arrive"
            await self._refuse(scope, receive, send, 413 if large else 408, text)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
        if status == 413:
            await self._throw_away(receive)
        await JSONResponse({"error": text}, status, headers={"connection": "close"})(scope, receive, send)

    async def _throw_away(self, receive: Receive) -> None:
        """Read on for a moment: a connection that is closed while its client still sends loses the answer, too."""
        count = 0
        try:
            async with asyncio.timeout(_LINGER):
                while count <= self.most:
                    message = await receive()
                    count += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            return


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("::1")
        (True, True, False, True)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(file: Path | None, environment: str | None, host: str) -> str | None:
    """Return the token that clients must know; None: this machine alone is served, and needs none.

    Args:
        file: Holds it.
        environment: The token itself, from ``COVIDMT_SERVE_TOKEN``.
        host: The address that is served.

    Raises:
        UserError: There must be one and is none, or it is short.
    """
    token = environment
    if file is not None:
        try:
            token = expand(file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--token-file {file}: cannot be read ({error})") from error
    if not token and not is_loopback(host):
        raise UserError(
            f"--host {host}: other machines can reach this address, so a token is needed: write one to a file "
            "(`openssl rand -hex 24 > token`), and name that with --token-file"
        )
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise UserError(
            f"the token has fewer than {SHORTEST_TOKEN} characters; `openssl rand -hex 24` makes a good one"
        )
    return token


def same(given: str | None, expected: str) -> bool:
    """Compare secrets in a time that tells nothing of them.

    Example:
        >>> same("abc", "abc"), same("ab", "abc"), same(None, "abc"), same("ä", "abc")
        (True, False, False, False)
    """
    return hmac.compare_digest((given or "").encode(errors="replace"), expected.encode())


def bearer(request: Request) -> str | None:
    """Return the token of a request's ``Authorization: Bearer``."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def security_headers() -> dict[str, str]:
    """Return what a browser is told: no script at all, nothing from elsewhere, nothing kept."""
    return {
        "content-security-policy": "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        "cache-control": "no-store",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }
