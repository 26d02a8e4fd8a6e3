"""The film in a request: multipart or JSON, in memory alone."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, TypeAlias

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from experiments.errors import UserError

FILE, BASE64 = "file", "image"  # the form's field, the JSON's key
Json: TypeAlias = dict[str, Any]
FIELDS = 4  # beside the file


@dataclass(frozen=True)
class Upload:
    """What was sent.

    Attributes:
        content: The film's bytes.
        fields: The other fields, as text.
    """

    content: bytes
    fields: dict[str, str]


async def read_upload(request: Request, most: int) -> Upload:
    """Return the film of a request.

    Args:
        request: ``multipart/form-data`` with a field ``file``, or JSON with ``image``, the file's base64.
        most: Bytes of a body; that much stays in memory, so that nothing is written to a disk.

    Raises:
        UserError: It holds no film.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _read_form(request, most)
    if kind == "application/json":
        values = parse_json(await request.body())
        text = values.get(BASE64)
        if not isinstance(text, str):
            raise UserError(f'the JSON needs "{BASE64}": the base64 of an image file')
        fields = {name: str(value) for name, value in values.items() if name != BASE64}
        return Upload(decode_base64(text), fields)
    raise UserError(f"send multipart/form-data with a field {FILE!r}, or application/json with {BASE64!r} in base64")


def parse_json(body: bytes) -> Json:
    """Return a JSON object.

    Raises:
        UserError: It is something else, or nested too deep.

    Example:
        >>> parse_json(b'{"image": "aGk="}')
        {'image': 'aGk='}
    """
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UserError("the body is no JSON") from error
    if not isinstance(values, dict):
        raise UserError("the JSON is no object")
    return values


def decode_base64(text: str) -> bytes:
    """Return what a base64 text stands for; a ``data:`` URI's beginning may stand before it.

    Raises:
        UserError: It is no base64.

    Example:
        >>> decode_base64("data:image/png;base64,aGk=")
        b'hi'
    """
    try:
        return base64.b64decode("".join(text.rpartition("base64,")[2].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f'"{BASE64}" is no base64') from error


async def _read_form(request: Request, most: int) -> Upload:
    parser = MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=FIELDS, max_part_size=2**16)
    parser.spool_max_size = most
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise UserError("the form cannot be read: it takes one file and a few short fields") from error
    file = form.get(FILE)
    if not isinstance(file, UploadFile):
        raise UserError(f"the form has no file in its field {FILE!r}")
    try:
        content = await file.read()
    finally:
        await form.close()
    if not content:
        raise UserError("the file is empty; choose a film first")
    return Upload(content, {name: value for name, value in form.items() if isinstance(value, str)})
