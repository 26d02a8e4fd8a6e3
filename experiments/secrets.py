"""Passwords and tokens, which are neither logged nor printed.

What is hidden: what SQLAlchemy's parser takes for the password of a URL, also ``?password=``, ``odbc_connect=`` and the
token of ``https://TOKEN@server``; values under a name such as ``password``, ``api_key`` or ``Authorization``; and,
wherever they stand, the values of environment variables with such a name, and the passwords of URLs in the environment.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, TextIO, cast
from urllib.parse import quote, quote_plus, unquote_plus

HIDDEN = "***"
SHORTEST = 6  # a shorter text stands in others by chance, and is hidden at its own place alone

_WORDS = (
    r"[a-z]*(?:password|passphrase|secret)s?|passwd|pwd|tokens?|credentials?|authorization"
    r"|(?:api|access|private|auth|secret)[_-]?keys?"
)
_NAME = re.compile(rf"(?i)(?:.*[^a-z])?(?:{_WORDS})")
# of an environment variable: the shell's own working folders are none
_VARIABLE = re.compile(rf"(?i)(?!(?:OLD)?PWD$)(?:(?:.*_)?(?:{_WORDS}|pass|key|auth)|\w*token)")
_URL = re.compile(r"""[A-Za-z][\w+.-]*://[^\s"`]+""")
_QUERY = re.compile(rf"(?i)([?&;](?:[\w.-]*[^a-z&;])?(?:{_WORDS}|odbc_connect)=)[^&;\s'\"]+")
_PAIR = re.compile(
    rf"""(?ix) (?P<name>(?<![a-z]) (?:{_WORDS}) ["']?)
    (?P<between>\s*[=:]\s*)
    (?: (?P<quote>["']) (?P<quoted>(?:(?!(?P=quote))[^\n\\]|\\.)+) (?P=quote)
      | (?P<bare>(?:(?:bearer|basic|token|digest)\s+)? [^\s,;&"'(){{}}\[\]]+) )"""
)
_PLAIN = re.compile(r"(?i)null|none|true|false|str|int|bool|any|\d{1,5}|\*+|\$\w.*")  # what hides nothing


def hide_secrets(text: str) -> str:
    """Return a text with every password and token in it replaced by ``***``.

    Example:
        >>> from experiments.secrets import hide_secrets
        >>> print(hide_secrets("postgresql://me:p@ss/word@db/runs, https://t0ken@server, mysql://db/runs?password=x"))
        postgresql://me:***@db/runs, https://***@server, mysql://db/runs?password=***
        >>> print(hide_secrets('{"api_key": "abc"} Authorization: Bearer abc'))
        {"api_key": "***"} Authorization: ***
    """
    text = _URL.sub(lambda match: hide_in_url(match[0]), text)
    text = _PAIR.sub(_hide_pair, text)
    for secret in sorted(_environment_secrets(), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def hide_in_values(value: Any) -> Any:
    """Return plain containers with the secrets in their texts hidden.

    Example:
        >>> from experiments.secrets import hide_in_values
        >>> hide_in_values({"logger": {"api_key": "abc", "url": "http://me:abc@server"}})
        {'logger': {'api_key': '***', 'url': 'http://me:***@server'}}
    """
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if isinstance(item, str) and item and _NAME.fullmatch(str(key)) else hide_in_values(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [hide_in_values(item) for item in value]
    return hide_secrets(value) if isinstance(value, str) else value


def hide_in_url(url: str) -> str:
    """Return a URL with what tells a secret hidden; its user stays, unless it stands alone before an HTTP server.

    Everything up to the last ``@`` belongs to the password: one that was not percent-encoded may hold ``@`` and ``/``.

    Example:
        >>> from experiments.secrets import hide_in_url
        >>> hide_in_url("mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3Dabc")
        'mssql+pyodbc:///?odbc_connect=***'
        >>> hide_in_url("sqlite:////home/me@work/mlflow.db")
        'sqlite:////home/me@work/mlflow.db'
    """
    scheme, _, rest = _QUERY.sub(rf"\1{HIDDEN}", url).partition("://")
    before, at, server = rest.rpartition("@")
    user, colon, _ = before.partition(":")
    if at and not re.search(r"[/?#]", user):
        if colon:
            before = f"{user}:{HIDDEN}"
        elif "http" in scheme.lower():
            before = HIDDEN
    return f"{scheme}://{before}{at}{server}"


def url_secrets(url: str) -> set[str]:
    """Return the secrets of one URL by SQLAlchemy's parser, as they are written there and as they are meant.

    Example:
        >>> from experiments.secrets import url_secrets
        >>> sorted(url_secrets("postgresql://me:p%40ssword@db/runs?sslpassword=abcdef"))
        ['abcdef', 'p%40ssword', 'p@ssword']
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # such as a port that is no number: a password with a colon and a slash
        return set()

    meant = [str(parsed.password or "")]
    if not parsed.password and parsed.drivername.startswith("http") and parsed.username:
        meant.append(parsed.username)
    for key, value in parsed.query.items():
        value = value if isinstance(value, str) else " ".join(value)
        if key == "odbc_connect":
            meant += re.findall(r"(?i)(?:pwd|password)\s*=\s*([^;]+)", unquote_plus(value))
        elif _NAME.fullmatch(key):
            meant.append(value)
    return {form for secret in meant if secret for form in (secret, quote(secret, safe=""), quote_plus(secret))}


def _hide_pair(match: re.Match[str]) -> str:
    value = match["quoted"] or match["bare"]
    between, code = match["between"], match["bare"] and match["between"].strip() == "=" and match["between"] != "="
    if _PLAIN.fullmatch(value) or code:  # `token = page.token` is a line of a program
        return match[0]
    mark = match["quote"] or ""
    return f"{match['name']}{between}{mark}{HIDDEN}{mark}"


def _environment_secrets() -> Iterator[str]:
    for name, value in os.environ.items():
        if _VARIABLE.fullmatch(name) and len(value) >= SHORTEST and not _PLAIN.fullmatch(value):
            yield value
        elif "://" in value and ("@" in value or "?" in value):
            yield from (secret for secret in url_secrets(value) if _is_distinct(secret))


def _is_distinct(secret: str) -> bool:
    """Return whether a URL's password can be looked for in any text: ``mlflow`` as a password stands in every path."""
    return len(secret) >= SHORTEST and (len(secret) >= 12 or not secret.isalpha())


class HidingStream:
    r"""A text stream that hides secrets in what is written to it; in all else the stream that it was made for.

    Args:
        stream: Where the texts go.

    Example:
        >>> import io
        >>> from experiments.secrets import HidingStream
        >>> out = io.StringIO()
        >>> print("password=abc", file=HidingStream(out))
        >>> out.getvalue()
        'password=***\n'
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text without its secrets; return how much was given."""
        self._stream.write(hide_secrets(text))
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        """Write each of them."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def hiding(stream: TextIO) -> TextIO:
    """Return the stream as a `HidingStream`."""
    return stream if isinstance(stream, HidingStream) else cast(TextIO, HidingStream(stream))


def print_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an exception that nobody caught, as Python does, without secrets: a ``sys.excepthook``."""
    print(hide_secrets("".join(traceback.format_exception(kind, error, trace))), file=sys.stderr, end="")
