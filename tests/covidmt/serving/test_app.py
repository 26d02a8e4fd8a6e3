"""The service from outside: answers, what it refuses, and that nothing stays or leaks. Attacks are real requests."""

from __future__ import annotations

import base64
import html
import io
import json
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
import requests
from PIL import Image

from covidmt.prediction.answer import NOTICE
from covidmt.prediction.predictor import open_predictor
from covidmt.serving.replies import FilmReply
from tests.helpers.mlflow_server import save_checkpoint
from tests.helpers.service_process import Service, film, scan, serving

pytestmark = pytest.mark.slow

TOKEN = "correct horse battery staple"
ROUTES = ("/v1/predict", "/v1/messages", "/")  # that take a film


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "best.ckpt"
    boxes = ("robustness.box_score=0", "model.boxes.score_threshold=0")  # an untrained network's scores are low
    save_checkpoint(path, 0, "active_tasks=[covidx,rsna_boxes,effusion]", *boxes)
    return path


@pytest.fixture(scope="module")
def service(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(checkpoint, tmp_path_factory.mktemp("service") / "here", "--max-mb", "4") as service:
        yield service


@pytest.fixture(scope="module")
def guarded(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(TOKEN + "\n")
    options = ("--host", "0.0.0.0", "--token-file", str(folder / "token"), "--keep", str(folder / "kept"))
    with serving(checkpoint, folder / "here", *options) as service:
        yield service


def send(service: Service, route: str, content: bytes, **more: object) -> requests.Response:
    return requests.post(f"{service.address}{route}", files={"file": ("x", content)}, timeout=120, **more)


def predict(service: Service, content: bytes, **more: object) -> requests.Response:
    return send(service, "/v1/predict", content, **more)


def refusal(response: requests.Response) -> str:
    """What a client is told: JSON, or the page's one sentence."""
    if response.headers["content-type"].startswith("application/json"):
        assert response.json().keys() == {"error"}
        return response.json()["error"]
    assert 'role="alert"' in response.text
    return html.unescape(response.text.partition('role="alert">')[2].partition("<")[0])


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has that many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 10_000_000, 9)) + chunk(b"IEND", b"")


# -- answers -----------------------------------------------------------------------------------------------------------


def test_a_film_gets_the_predictors_answer_in_every_way(service: Service, checkpoint: Path):
    content = film()
    ((_, ours),) = open_predictor(checkpoint, segmenter=None).answer({"film": content})
    expected = ours.prediction.record()
    by_form = predict(service, content).json()
    body = {"image": base64.b64encode(content).decode(), "pictures": True}
    by_json = requests.post(f"{service.address}/v1/predict", json=body, timeout=60).json()
    assert by_form["probability"] == pytest.approx(expected["probability"], abs=1e-5)
    assert by_form["channels"].keys() == expected["channels"].keys() == {"whatsapp"}
    assert by_form["notice"] == NOTICE
    assert "image" not in by_form
    pictures = by_json.pop("pictures")
    assert by_json == by_form
    assert list(pictures)[:2] == ["The film", "After whatsapp (simulated)"]
    assert [title.partition(":")[0] for title in list(pictures)[2:]] == [
        "Boxes on the film",
        "Boxes on the film after whatsapp (simulated)",
    ]
    for picture in pictures.values():
        image = Image.open(io.BytesIO(base64.b64decode(picture)))
        assert (image.format, max(image.size), image.getexif()) == ("JPEG", 640, {})


def test_every_task_is_answered_and_the_description_says_so(service: Service):
    answer = predict(service, film()).json()
    reply = FilmReply.model_validate(answer)  # nothing that it does not describe
    assert answer.keys() | {"pictures"} == FilmReply.model_fields.keys()
    assert [(finding.task, finding.label) for finding in reply.findings] == [
        ("covidx", "normal"),
        ("covidx", "pneumonia"),
        ("effusion", "Effusion"),
    ]
    assert all(finding.channels.keys() == {"whatsapp"} for finding in reply.findings)
    (found,) = reply.boxes
    assert found.task == "rsna_boxes"
    assert found.boxes
    assert found.channels["whatsapp"]
    assert all(0 <= corner <= 96 for box in found.boxes for corner in box.xyxy)  # pixels of the film


def test_formats_are_png_jpeg_and_dicom(service: Service):
    file = io.BytesIO()
    Image.open(io.BytesIO(film())).save(file, "JPEG")
    assert predict(service, file.getvalue()).status_code == 200
    answer = predict(service, scan("nobody")).json()
    assert 0 <= answer["probability"] <= 1
    for kind in ("GIF", "TIFF", "BMP", "WEBP"):
        file = io.BytesIO()
        Image.open(io.BytesIO(film())).save(file, kind)
        for route in ROUTES:
            response = send(service, route, file.getvalue())
            assert response.status_code == 415
            assert "no PNG, JPEG or DICOM" in refusal(response)


def test_models_health_and_openapi_say_what_there_is(service: Service):
    (model,) = requests.get(f"{service.address}/v1/models", timeout=30).json()["models"]
    assert (model["label"], model["channels"], model["reference"]) == ("COVID-19", ["whatsapp"], "best.ckpt")
    assert f"Network: {model['title']}" in requests.get(service.address, timeout=30).text
    assert requests.get(f"{service.address}/healthz", timeout=30).json() == {"status": "ok"}
    api = requests.get(f"{service.address}/openapi.json", timeout=30).json()
    assert {"/v1/predict", "/v1/models", "/healthz", "/v1/messages"} <= api["paths"].keys()
    post = api["paths"]["/v1/predict"]["post"]
    assert {"multipart/form-data", "application/json"} == post["requestBody"]["content"].keys()
    assert post["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("FilmReply")


def test_a_doctors_message_and_its_picture_in_one_request(service: Service):
    response = requests.post(f"{service.address}/v1/messages", files={"file": film()}, timeout=60).json()
    assert response["text"].startswith("The network answers")
    assert response["text"].endswith(NOTICE)
    assert Image.open(io.BytesIO(base64.b64decode(response["picture"]))).size[0] == 1088


def test_many_at_once_all_get_their_own_answer(service: Service):
    films = [film(seed) for seed in range(24)]
    alone = [predict(service, content).json()["probability"] for content in films]
    with ThreadPoolExecutor(12) as threads:
        together = [r.json()["probability"] for r in threads.map(lambda content: predict(service, content), films)]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len(set(alone)) > 12


# -- attacks -----------------------------------------------------------------------------------------------------------


def test_no_request_without_the_token(guarded: Service):
    wrong = [{}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}, {"authorization": "Bearer "}]
    for headers in [*wrong, {"authorization": f"Bearer {TOKEN[:-1]}"}, {"authorization": f"Bearer {TOKEN}x"}]:
        for path in ("/v1/predict", "/v1/messages"):
            response = requests.post(f"{guarded.address}{path}", files={"file": film()}, headers=headers, timeout=60)
            assert (response.status_code, response.json()) == (401, {"error": "the token is missing or wrong"})
        assert requests.get(f"{guarded.address}/v1/models", headers=headers, timeout=60).status_code == 401
    for token in ("", "wrong", None):
        fields = {} if token is None else {"token": token}
        page = requests.post(f"{guarded.address}/", files={"file": film()}, data=fields, timeout=60)
        assert page.status_code == 401
        assert "the token is missing or wrong" in page.text
    assert TOKEN not in requests.get(f"{guarded.address}/", timeout=60).text
    assert predict(guarded, film(), headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    page = requests.post(f"{guarded.address}/", files={"file": film()}, data={"token": TOKEN}, timeout=60)
    assert page.status_code == 200
    assert TOKEN not in page.text


def test_a_platforms_header_is_no_token(guarded: Service):
    for header in ("x-hub-signature-256", "x-telegram-bot-api-secret-token"):
        headers = {header: TOKEN, "content-type": "application/json"}  # no platform is set up here
        response = requests.post(f"{guarded.address}/v1/messages", data=b"{}", headers=headers, timeout=60)
        assert response.status_code == 401
    query = {"hub.mode": "subscribe", "hub.verify_token": "", "hub.challenge": "1"}
    assert requests.get(f"{guarded.address}/v1/messages", params=query, timeout=60).status_code == 403


@pytest.mark.parametrize("route", ROUTES)
def test_another_sites_page_and_another_name_for_this_machine_get_nothing(service: Service, route: str):
    for origin in ("https://evil.example", "null"):
        foreign = send(service, route, film(), headers={"origin": origin})
        assert (foreign.status_code, refusal(foreign)) == (403, "this page belongs to another site")
    rebound = send(service, route, film(), headers={"host": "evil.example"})
    assert rebound.status_code == 400
    assert "probability" not in rebound.text.lower()
    assert "access-control-allow-origin" not in predict(service, film()).headers


@pytest.mark.parametrize("route", ROUTES)
def test_what_is_too_large_is_refused_whatever_its_headers_say(service: Service, route: str):
    address = f"{service.address}{route}"
    assert send(service, route, b"\x89PNG\r\n\x1a\n" + bytes(5 * 2**20)).status_code == 413
    assert requests.post(address, json={"image": "A" * (5 * 2**20)}, timeout=60).status_code == 413

    # without a length, a piece at a time
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(2**16)

    response = requests.post(address, data=pieces(), headers={"content-type": "application/json"}, timeout=60)
    assert response.status_code == 413
    for length in ("-1", "4e3", "99999999999999999999"):
        lines = (f"POST {route} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", "", "")
        assert _raw(service, "\r\n".join(lines))[:3] in ("413", "400")
    assert predict(service, film()).status_code == 200


def _raw(service: Service, request: str) -> str:
    """The status of a request that no library would send."""
    place = urlsplit(service.address)
    with socket.create_connection((place.hostname, place.port), timeout=30) as sock:
        sock.sendall(request.encode())
        return sock.recv(1000).decode().partition(" ")[2]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/json"),
        (b"{}", "application/json"),
        (b"[]", "application/json"),
        (b'{"image": 5}', "application/json"),
        (b'{"image": "no base64 ?"}', "application/json"),
        (b"[" * 200_000, "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"hello", "text/plain"),
        (b"hello", "multipart/form-data"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nno file\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 2000 + b"--x--\r\n",
            "multipart/form-data; boundary=x",
        ),
    ],
)
def test_odd_bodies_are_one_sentence(service: Service, body: bytes, kind: str):
    for route in ROUTES:
        response = requests.post(f"{service.address}{route}", data=body, headers={"content-type": kind}, timeout=60)
        assert response.status_code == 400
        assert refusal(response)
        assert "Traceback" not in response.text


def test_bombs_take_no_memory(service: Service):
    before = psutil.Process(service.process.pid).memory_info().rss
    for content in (bomb(60_000, 60_000), bomb(8_001, 8_000), bomb(2**31 - 1, 1)):
        for route in ROUTES:
            response = send(service, route, content)
            assert response.status_code == 400
            assert "more than the 64 million" in refusal(response)
    deflated = bomb(3000, 3000)
    assert predict(service, deflated[: len(deflated) // 2]).status_code == 400  # cut short
    assert psutil.Process(service.process.pid).memory_info().rss - before < 150e6


def test_nothing_of_a_dicom_header_leaves(service: Service):
    secret = "GEHEIM"
    whole = scan(secret)
    broken = [
        whole[:700],
        whole.replace(b"MONOCHROME2", secret.encode() + b"12345"),
        whole.replace(b"US\x02\x00\x40", b"US\x02\x00\x00"),
    ]
    for content in [whole, *broken]:
        assert secret.encode() in content
        for path in ("/v1/predict", "/v1/messages", "/"):
            response = requests.post(
                f"{service.address}{path}",
                files={"file": (f"{secret}.dcm", content)},
                data={"pictures": "true"},
                timeout=60,
            )
            assert response.status_code in (200, 400, 415)
            assert secret not in response.text
            assert secret not in str(response.headers)
            texts = json.dumps(response.json()) if path != "/" else response.text
            for word in texts.split('"'):
                if len(word) > 1000:  # a picture
                    assert secret.encode() not in base64.b64decode(word.rpartition(",")[2] + "==")
    log = service.folder.parent / f"{service.folder.name}.err"
    assert secret not in log.read_text()


def test_nothing_is_kept(service: Service):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1500), dtype=np.uint8)).save(file, "PNG")
    assert len(file.getvalue()) > 2**20  # what libraries leave in memory
    for route in ROUTES:
        assert send(service, route, file.getvalue(), data={"pictures": "true"}).status_code == 200
    process = psutil.Process(service.process.pid)
    assert [path for path in service.folder.rglob("*") if path.is_file()] == []
    assert [file.path for file in process.open_files() if f"{service.folder}/" in file.path] == []


def test_what_is_kept_is_the_film_and_its_answer_for_the_owner_alone(guarded: Service):
    kept = guarded.folder.parent / "kept"
    for path in kept.iterdir():
        path.unlink()
    content, allowed = film(7), {"authorization": f"Bearer {TOKEN}"}
    assert predict(guarded, content[:60], headers=allowed).status_code == 400  # no film, nothing kept
    answer = predict(guarded, content, headers=allowed).json()
    names = sorted(kept.iterdir(), key=lambda path: path.suffix)
    assert [path.suffix for path in names] == [".json", ".png"]
    assert names[1].read_bytes() == content
    assert json.loads(names[0].read_text()) == answer
    assert kept.stat().st_mode & 0o077 == 0


def test_browsers_are_told_to_run_nothing_and_keep_nothing(service: Service):
    for response in (requests.get(f"{service.address}/", timeout=30), predict(service, film())):
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["cache-control"] == "no-store"
    assert "<script" not in requests.get(f"{service.address}/", timeout=30).text
    for path in ("/docs", "/redoc", "/..%2f..%2fetc/passwd", "/static"):
        assert requests.get(f"{service.address}{path}", timeout=30).status_code == 404


# -- the end -----------------------------------------------------------------------------------------------------------


def test_sigterm_finishes_what_is_under_way_and_loses_nothing(checkpoint: Path, tmp_path: Path):
    with serving(checkpoint, tmp_path / "here") as service:
        results: list[int] = []
        started = threading.Barrier(13)

        def ask(seed: int) -> None:
            content = film(seed, 1500)
            started.wait()
            results.append(predict(service, content).status_code)

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(12)]
        for thread in threads:
            thread.start()
        started.wait()
        while not psutil.Process(service.process.pid).net_connections():
            pass
        threading.Event().wait(0.3)  # they have been sent
        status = service.stop()
        for thread in threads:
            thread.join(120)
    assert results == [200] * 12
    assert status in (0, -15)
