"""``covidmt serve``: a trained network behind an address."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from covidmt.prediction.answer import NOTICE
from covidmt.prediction.predictor import Predictor, open_predictor
from covidmt.serving.app import ServeSettings, make_app
from covidmt.serving.guards import read_token
from covidmt.serving.messages import read_platforms
from covidmt.serving.service import FilmService
from covidmt.serving.uploads import Json
from covidmt.tracking.checkpoints import FoundCheckpoint, find_checkpoint
from experiments.errors import UserError
from experiments.paths import absolute
from lightning_modules.lungs.segmenters import segmenter_id

TOKEN = "COVIDMT_SERVE_TOKEN"  # environment variable


def serve(
    reference: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: Path | None = None,
    channels: Sequence[str] | None = None,
    segmenter: str | None = "covidmt",
    keep: Path | None = None,
    max_mb: int = 32,
) -> None:
    """Answer films until SIGTERM or SIGINT; what is under way then is finished.

    Args:
        reference: See :func:`.find_checkpoint`.
        host: The address; other machines reach it only with a token.
        port: The port; 0: any that is free.
        token_file: Holds the token; None: ``COVIDMT_SERVE_TOKEN``.
        channels: As in ``covidmt predict``.
        segmenter: As in ``covidmt predict``.
        keep: Folder for films and answers; None: nothing is kept.
        max_mb: Megabytes of a request.

    Raises:
        UserError: Something of this cannot be used.
    """
    import uvicorn

    # mistakes come before the network is loaded
    token = read_token(token_file, os.environ.get(TOKEN), host)
    platforms = read_platforms()
    folder = _keep_folder(keep) if keep else None
    sock = bind(host, port)

    found = find_checkpoint(reference)
    predictor = open_predictor(found.path, channels=channels, segmenter=segmenter, explain_sent=True)
    model = describe_model(predictor, reference, found, segmenter)
    settings = ServeSettings(model, token, max_mb * 2**20, platforms)
    app = make_app(FilmService(predictor, keep=folder), settings)

    shown = "localhost" if host == "127.0.0.1" else host
    console = Console(markup=False)
    address = f"http://{shown}:{sock.getsockname()[1]}/"
    console.print(f"{address}  answers films, by the network {model['title']}; Ctrl+C ends it", soft_wrap=True)
    console.print(NOTICE, soft_wrap=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, timeout_keep_alive=30)
    uvicorn.Server(config).run(sockets=[sock])


def describe_model(predictor: Predictor, reference: str, found: FoundCheckpoint, segmenter: str | None) -> Json:
    """Return what ``/v1/models`` says."""
    experiment, decision = predictor.module.experiment, predictor.maps.decision
    return {
        "name": experiment.name,
        "title": found.title_of(experiment),
        "reference": Path(reference).name if Path(reference).exists() else reference,  # no folders of this machine
        "run_id": found.run_id,
        "backbone": experiment.model.backbone,
        "image_size": predictor.size,
        "label": decision.label,
        "decision": decision.words,
        "channels": list(predictor.channels),
        "segmenter": segmenter_id(segmenter) if segmenter else None,
        "notice": NOTICE,
    }


def _keep_folder(keep: Path) -> Path:
    folder = absolute(keep)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--keep {keep}: cannot be made ({error.strerror}); name another folder") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"--keep {keep}: cannot be written to; name another folder, or set its rights")
    return folder


def bind(host: str, port: int) -> Any:
    """Return a bound TCP socket.

    Args:
        host: An address of this machine, IPv4 or IPv6.
        port: 0: any that is free.

    Raises:
        UserError: Another program has the port, or the address is not this machine's.
    """
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # of TCP by name: asyncio looks for it, and else an answer's second packet waits 40 ms for the client's word
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise UserError(
            f"--host {host} --port {port}: cannot be served ({error.strerror}); another program may have the port: "
            "choose another --port (0: any that is free)"
        ) from error
    return sock
