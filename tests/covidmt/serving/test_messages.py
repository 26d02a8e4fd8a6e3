"""The webhook against platforms that are real servers here: payloads in the shapes that theirs have."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from covidmt.prediction.answer import NOTICE
from covidmt.serving.messages import LARGEST, Telegram, WhatsApp
from tests.helpers.mlflow_server import save_checkpoint
from tests.helpers.service_process import Service, film, scan, serving

SECRETS = {
    "COVIDMT_WHATSAPP_TOKEN": "EAAG-wa-token",
    "COVIDMT_WHATSAPP_APP_SECRET": "app-secret",
    "COVIDMT_WHATSAPP_VERIFY_TOKEN": "verify-me",
    "COVIDMT_TELEGRAM_TOKEN": "12345:tg-token",
    "COVIDMT_TELEGRAM_SECRET": "tg-secret",
}


def whatsapp_payload(message: dict[str, Any], id: str = "wamid.HBgL") -> dict[str, Any]:
    """As the Cloud API sends it."""
    contact = {"profile": {"name": "Dr. A"}, "wa_id": "16505551234"}
    common = {"from": "16505551234", "id": id, "timestamp": "1683229471"}
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"},
        "contacts": [contact],
        "messages": [common | message],
    }
    entry = {"id": "102290129340398", "changes": [{"value": value, "field": "messages"}]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


IMAGE = {"type": "image", "image": {"mime_type": "image/jpeg", "sha256": "abc=", "id": "2754859441498128"}}
TEXT = {"type": "text", "text": {"body": "hello"}}
_DELIVERED = {
    "messaging_product": "whatsapp",
    "metadata": {"phone_number_id": "106540352242922"},
    "statuses": [{"id": "wamid.x", "status": "delivered", "recipient_id": "16505551234"}],
}
STATUS = {
    "object": "whatsapp_business_account",
    "entry": [{"id": "1", "changes": [{"value": _DELIVERED, "field": "messages"}]}],
}


def telegram_payload(message: dict[str, Any], id: int = 365) -> dict[str, Any]:
    """As the Bot API sends it."""
    chat = {"id": 1111111, "first_name": "A", "type": "private"}
    return {"update_id": 10000, "message": {"message_id": id, "date": 1441645532, "chat": chat, "from": chat} | message}


PHOTO = {"photo": [
    {"file_id": "small", "file_unique_id": "a", "file_size": 1253, "width": 90, "height": 68},
    {"file_id": "large", "file_unique_id": "b", "file_size": 91253, "width": 1280, "height": 963},
]}  # fmt: skip


class PlatformServer(ThreadingHTTPServer):
    """Both platforms: gives media, and notes what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.film = film()
        self.sent: list[tuple[str, str | None, bytes]] = []  # path, authorization, body
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def wait(self, count: int) -> list[tuple[str, str | None, bytes]]:
        end = time.monotonic() + 300  # a first answer on a busy machine
        while len(self.sent) < count:
            assert time.monotonic() < end, self.sent
            time.sleep(0.05)
        return self.sent


class _Handler(BaseHTTPRequestHandler):
    server: PlatformServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        wa = f"Bearer {SECRETS['COVIDMT_WHATSAPP_TOKEN']}"
        if path == "/v20.0/2754859441498128" and self.headers["authorization"] == wa:
            self._answer(json.dumps({"url": f"{self.server.url}/media/1", "mime_type": "image/jpeg"}).encode())
        elif path == "/media/1" and self.headers["authorization"] == wa:
            self._answer(self.server.film)
        elif self.path == f"/bot{SECRETS['COVIDMT_TELEGRAM_TOKEN']}/getFile?file_id=large":
            self._answer(json.dumps({"ok": True, "result": {"file_path": "photos/file_0.jpg"}}).encode())
        elif path == f"/file/bot{SECRETS['COVIDMT_TELEGRAM_TOKEN']}/photos/file_0.jpg":
            self._answer(self.server.film)
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.sent.append((self.path, self.headers["authorization"], body))
        self._answer(b'{"id": "media-9", "ok": true}')

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def platform() -> Iterator[PlatformServer]:
    server = PlatformServer()
    yield server
    server.shutdown()


@pytest.fixture
def service(platform: PlatformServer, tmp_path: Path) -> Iterator[Service]:
    with platform_service(platform, tmp_path) as service:
        yield service


def platform_service(platform: PlatformServer, folder: Path, *options: str) -> AbstractContextManager[Service]:
    save_checkpoint(folder / "best.ckpt", 0, "active_tasks=[covidx]")
    urls = {"COVIDMT_WHATSAPP_URL": f"{platform.url}/v20.0", "COVIDMT_TELEGRAM_URL": platform.url}
    return serving(folder / "best.ckpt", folder / "here", *options, environment=SECRETS | urls)


def post_whatsapp(service: Service, payload: dict[str, Any], secret: str = "app-secret") -> requests.Response:
    body = json.dumps(payload).encode()
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return requests.post(
        f"{service.address}/v1/messages", data=body, headers={"x-hub-signature-256": signature}, timeout=60
    )


def post_telegram(service: Service, payload: dict[str, Any], secret: str = "tg-secret") -> requests.Response:
    headers = {"x-telegram-bot-api-secret-token": secret}
    return requests.post(f"{service.address}/v1/messages", json=payload, headers=headers, timeout=60)


@pytest.mark.slow
def test_whatsapp_gets_the_doctors_message_and_the_overlay_once(service: Service, platform: PlatformServer):
    for _ in range(3):  # the platform sends again what it thinks was lost
        assert post_whatsapp(service, whatsapp_payload(IMAGE)).status_code == 200
    sent = platform.wait(3)
    assert post_whatsapp(service, STATUS).status_code == 200
    assert post_whatsapp(service, whatsapp_payload(TEXT, "wamid.text")).status_code == 200
    sent = platform.wait(4)
    assert [path for path, *_ in sent] == [
        "/v20.0/106540352242922/media",
        *["/v20.0/106540352242922/messages"] * 3,
    ]
    assert {key for _, key, _ in sent} == {"Bearer EAAG-wa-token"}

    answer, picture, hint = (json.loads(body) for _, _, body in sent[1:])
    assert (answer["to"], answer["type"], answer["context"]) == ("16505551234", "text", {"message_id": "wamid.HBgL"})
    assert answer["text"]["body"].startswith("The network answers")
    assert NOTICE in answer["text"]["body"]
    assert (picture["type"], picture["image"]["id"]) == ("image", "media-9")
    upload = sent[0][2]
    jpeg = upload[upload.index(b"\xff\xd8\xff") :]
    assert Image.open(io.BytesIO(jpeg)).size[0] == 1088
    assert "Send one chest X-ray" in hint["text"]["body"]


@pytest.mark.slow
def test_telegram_gets_the_doctors_message_and_the_overlay(service: Service, platform: PlatformServer):
    assert post_telegram(service, telegram_payload(PHOTO)).status_code == 200
    (text, _, body), (picture, _, form) = platform.wait(2)
    assert (text, picture) == ("/bot12345:tg-token/sendMessage", "/bot12345:tg-token/sendPhoto")
    message = json.loads(body)
    assert (message["chat_id"], message["reply_parameters"]) == ("1111111", {"message_id": 365})
    assert message["text"].startswith("The network answers")
    assert b"\xff\xd8\xff" in form

    platform.film = b"no film"
    assert post_telegram(service, telegram_payload(PHOTO, 366)).status_code == 200
    assert "no PNG, JPEG or DICOM" in json.loads(platform.wait(3)[2][2])["text"]


@pytest.mark.slow
def test_nobody_else_can_send_a_message(service: Service, platform: PlatformServer):
    assert post_whatsapp(service, whatsapp_payload(IMAGE), "wrong").status_code == 401
    assert post_telegram(service, telegram_payload(PHOTO), "wrong").status_code == 401
    for header in ("x-hub-signature-256", "x-telegram-bot-api-secret-token"):
        for value in ("", "sha256=", "sha1=abc"):
            response = requests.post(f"{service.address}/v1/messages", json={}, headers={header: value}, timeout=60)
            assert response.status_code == 401
    time.sleep(1)
    assert platform.sent == []

    query = {"hub.mode": "subscribe", "hub.verify_token": "verify-me", "hub.challenge": "1158201444"}
    assert requests.get(f"{service.address}/v1/messages", params=query, timeout=60).text == "1158201444"
    wrong = query | {"hub.verify_token": "wrong"}
    assert requests.get(f"{service.address}/v1/messages", params=wrong, timeout=60).status_code == 403
    log = service.folder.parent / f"{service.folder.name}.err"
    assert not any(secret in log.read_text() for secret in SECRETS.values())


@pytest.mark.slow
def test_a_platform_that_fails_loses_no_secret_and_no_service(service: Service, platform: PlatformServer):
    other = IMAGE | {"image": {"id": "404"}}
    assert post_whatsapp(service, whatsapp_payload(other, "wamid.404")).status_code == 200
    assert post_whatsapp(service, whatsapp_payload(IMAGE, "wamid.good")).status_code == 200
    platform.wait(3)
    log = (service.folder.parent / f"{service.folder.name}.err").read_text()
    assert "A message of whatsapp was not answered (HTTPError)" in log
    assert not any(secret in log for secret in SECRETS.values())


@pytest.mark.slow
def test_a_platforms_films_leave_no_header_and_no_file(service: Service, platform: PlatformServer):
    secret = "GEHEIM"
    # The answer and its picture, then what is wrong with the other: each film is fetched before the next replaces it.
    for number, (content, count) in enumerate(((scan(secret), 2), (scan(secret)[:700], 3))):
        assert secret.encode() in content
        platform.film = content
        assert post_telegram(service, telegram_payload(PHOTO, 400 + number)).status_code == 200
        sent = platform.wait(count)
    assert not any(secret.encode() in body for _, _, body in sent)
    texts = [json.loads(body)["text"] for path, _, body in sent if path.endswith("/sendMessage")]
    assert len(texts) == 2
    assert any("cannot be read as one picture" in text for text in texts)
    assert secret not in (service.folder.parent / f"{service.folder.name}.err").read_text()
    assert [path for path in service.folder.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_what_a_platform_sends_is_limited(service: Service, platform: PlatformServer):
    platform.film = bytes(LARGEST + 1)
    assert post_telegram(service, telegram_payload(PHOTO, 500)).status_code == 200
    assert "is too large" in json.loads(platform.wait(1)[0][2])["text"]
    body = json.dumps(whatsapp_payload(IMAGE) | {"more": "x" * (33 * 2**20)}).encode()
    signature = "sha256=" + hmac.new(b"app-secret", body, hashlib.sha256).hexdigest()
    headers = {"x-hub-signature-256": signature}
    assert requests.post(f"{service.address}/v1/messages", data=body, headers=headers, timeout=60).status_code == 413
    time.sleep(0.5)
    assert len(platform.sent) == 1


@pytest.mark.slow
def test_sigterm_answers_the_message_under_way_and_its_film_is_kept(platform: PlatformServer, tmp_path: Path):
    kept = tmp_path / "kept"
    with platform_service(platform, tmp_path, "--keep", str(kept)) as service:
        assert post_telegram(service, telegram_payload(PHOTO)).status_code == 200
        assert service.stop() in (0, -15)
    assert [path for path, *_ in platform.sent] == ["/bot12345:tg-token/sendMessage", "/bot12345:tg-token/sendPhoto"]
    assert sorted(path.suffix for path in kept.iterdir()) == [".json", ".png"]


ODD = [{}, {"entry": 5}, {"entry": [5, {"changes": {}}]}, {"entry": [{"changes": [{"value": []}]}]}, {"message": []},
       whatsapp_payload({"type": "image", "image": 5}), whatsapp_payload({"type": 7}), {"message": {"chat": 5}},
       telegram_payload({"photo": [5, {}]}), telegram_payload({"document": "x"})]  # fmt: skip


@pytest.mark.parametrize("payload", ODD)
def test_odd_payloads_have_no_film(payload: dict[str, Any]):
    films = WhatsApp("http://x", "t", "s", "v").films(payload) + Telegram("http://x", "t", "s").films(payload)
    assert all(each.media is None for each in films)


def test_ids_that_lead_elsewhere_are_no_addresses():
    payload = whatsapp_payload(IMAGE)
    payload["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"] = "../../evil"
    assert WhatsApp("http://x", "t", "s", "v").films(payload) == []
    evil = whatsapp_payload(IMAGE | {"image": {"id": "../me?x="}})
    platform = WhatsApp("http://127.0.0.1:9", "t", "s", "v")
    (found,) = platform.films(evil)
    with pytest.raises(Exception, match="the media's id is none"):
        platform.fetch(found)
