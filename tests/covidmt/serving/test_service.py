from __future__ import annotations

import asyncio
import io
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image

from covidmt.prediction.findings import Box, FoundBoxes
from covidmt.prediction.predictor import Predictor, open_predictor
from covidmt.serving.service import (
    MEGAPIXELS,
    FilmService,
    UnknownKind,
    count_workers,
    draw_pictures,
    keep_film,
    kind_of,
    record_of,
)
from experiments.errors import UserError
from explain.cam import Cam
from tests.helpers.mlflow_server import save_checkpoint
from tests.helpers.service_process import film


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("network") / "best.ckpt"
    save_checkpoint(path, 0, "active_tasks=[covidx]")
    service = FilmService(open_predictor(path, segmenter=None, explain_sent=True))
    service.warm_up()
    yield service
    service.close()


def test_films_that_come_together_get_their_own_answers(service: FilmService):
    async def ask() -> list[float]:
        answers = await asyncio.gather(*(service.answer(film(seed)) for seed in range(20)))
        return [answer.prediction.probability for answer in answers]

    together = asyncio.run(ask())
    alone = [asyncio.run(service.answer(film(seed))).prediction.probability for seed in range(20)]
    assert together == pytest.approx(alone, abs=1e-5)


def test_pictures_show_both_sides_in_the_films_proportions(service: FilmService):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 100), dtype=np.uint8)).save(file, "PNG")
    explained = asyncio.run(service.answer(file.getvalue()))
    pictures = draw_pictures(explained)
    assert [picture.title for picture in pictures] == ["The film", "After whatsapp (simulated)"]
    sizes = {Image.open(io.BytesIO(picture.jpeg)).size for picture in pictures}
    assert sizes == {(320, 640)}
    assert pictures[0].jpeg != pictures[1].jpeg
    assert "image" not in record_of(explained)


def test_boxes_are_drawn_on_both_sides(service: FilmService):
    explained = asyncio.run(service.answer(film()))
    boxes = FoundBoxes("rsna_boxes", [Box(0.25, 0.25, 0.75, 0.75, score=0.9)], {"whatsapp": []})
    explained = replace(explained, prediction=replace(explained.prediction, boxes=(boxes,)))
    on_film, sent = draw_pictures(explained)[2:]
    assert on_film.title == "Boxes on the film: 1"
    assert sent.title == "Boxes on the film after whatsapp (simulated): none"
    for picture, coloured in ((on_film, True), (sent, False)):
        pixels = np.asarray(Image.open(io.BytesIO(picture.jpeg))).astype(int)
        assert pixels.shape == (640, 640, 3)
        assert bool((np.ptp(pixels[320, 150:170], axis=1) > 100).any()) is coloured  # the box's left side


def test_a_film_is_kept_with_its_answer(service: FilmService, tmp_path: Path):
    explained = asyncio.run(service.answer(film()))
    for _ in range(2):
        keep_film(tmp_path, film(), explained)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json", ".png", ".png"]


def test_batches_are_answered_at_the_same_time_where_cores_are_free_and_nothing_is_disturbed(
    service: FilmService, monkeypatch: pytest.MonkeyPatch
):
    def workers(device: str, engine: str, threads: int) -> int:
        monkeypatch.setattr(os, "cpu_count", lambda: 4)
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        predictor = SimpleNamespace(device=device, maps=SimpleNamespace(cam=Cam(engine)))
        return count_workers(cast(Predictor, predictor))

    assert [workers("cpu", "gradcam", threads) for threads in (1, 2, 4, 8)] == [4, 2, 1, 1]
    assert workers("cuda", "gradcam", 1) == 1
    assert workers("cpu", "gradcam++", 1) == 1  # its hooks are in the network while it explains


def test_kinds_are_told_by_content(service: FilmService):
    assert kind_of(film()) == "png"
    for content in (b"", b"GIF89a", b"%!PS-Adobe", b"<svg/>"):
        with pytest.raises(UnknownKind, match="no PNG, JPEG or DICOM"):
            kind_of(content)
    with pytest.raises(UserError, match="the film: not a readable image"):
        asyncio.run(service.answer(film()[:60]))
    assert service.predictor.megapixels == MEGAPIXELS
