"""What does the service cost, against calling the predictor in a loop?

    python benchmarks/serve.py [--checkpoint FILE] [--films 40] [--rounds 7] [--clients 16] [--requests 10000] [--quick]

Starts ``covidmt serve`` on the checkpoint (default: an untrained ResNet-18 at 128 px) in a process of its own, both
sides with one thread of PyTorch. The loop calls the same predictor, with the same lungs, channel and heat maps, on the
same films' bytes, one after the other. Ways are run in turns; figures are ratios of a round's wall-clock times:

* one client, one request after the other, against the loop (bar: 1.1 times as long);
* ``--clients`` clients at once against the loop (bar: 2 times the films a second). The service answers on all cores,
  and the loop on one; what the clients themselves compute is on the service's side.

Then ``--requests`` requests by all clients to a service with a network so small that they take minutes: every one must
be answered as the loop answers, and the service's memory is read after each tenth of them (bar: 5 % and 10 MB more at
the end than after three tenths). In the end SIGTERM comes while all clients wait, and none may be lost.

``--quick`` is a trial: fewer films, rounds and requests, too few for the bars.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import requests
import torch
from PIL import Image
from timing import interval

from covidmt.prediction.predictor import Predictor, open_predictor
from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment, to_dict
from lightning_modules.multitask import MultiTaskModule

SIDE = 512  # pixels of a film


def write_checkpoint(path: Path, settings: Sequence[str] = ()) -> Path:
    """An untrained network as `covidmt train` writes one."""
    torch.manual_seed(0)
    module = MultiTaskModule(load_experiment(SHIPPED / "demo.yaml", settings), pretrained=False)
    torch.save({"state_dict": module.state_dict(), "experiment": to_dict(module.experiment)}, path)
    return path


def make_films(count: int, side: int = SIDE) -> list[bytes]:
    """PNG files of smooth noise."""
    films = []
    for seed in range(count):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(file, "PNG")
        films.append(file.getvalue())
    return films


@contextmanager
def service(checkpoint: Path, folder: Path, *options: str) -> Generator[tuple[str, subprocess.Popen]]:
    """The command, and its address once it is warm."""
    command = [sys.executable, "-m", "covidmt", "serve", str(checkpoint), "--port", "0", *options]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split("/  ")[0]
        while True:
            try:
                requests.get(f"{address}/healthz", timeout=5)
                break
            except requests.RequestException:
                time.sleep(0.2)
        yield address, process
    finally:
        if process.poll() is None:
            process.kill()


def loop(predictor: Predictor, films: Sequence[bytes]) -> list[float]:
    """The baseline: each film's probability."""
    probabilities = []
    for film in films:
        ((_, result),) = predictor.answer({"film": film})
        if isinstance(result, UserError):
            raise result
        probabilities.append(result.prediction.record()["probability"])
    return probabilities


def ask(session: requests.Session, address: str, film: bytes) -> float:
    """One request's probability."""
    response = session.post(f"{address}/v1/predict", files={"file": film}, timeout=600)
    response.raise_for_status()
    return response.json()["probability"]


def ask_all(address: str, films: Sequence[bytes], clients: int) -> list[float]:
    """All films by some clients, each with a connection of its own; NaN for one that is lost."""
    local = threading.local()

    def one(film: bytes) -> float:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        try:
            return ask(local.session, address, film)
        except requests.RequestException:
            return math.nan

    with ThreadPoolExecutor(clients) as threads:
        return list(threads.map(one, films))


def megabytes(process: subprocess.Popen) -> float:
    """The service's memory."""
    return psutil.Process(process.pid).memory_info().rss / 1e6


def end_under_way(address: str, process: subprocess.Popen, film: bytes, clients: int) -> int:
    """SIGTERM while all clients wait; how many of them were answered."""
    answered: list[float] = []
    threads = [
        threading.Thread(target=lambda: answered.append(ask(requests.Session(), address, film))) for _ in range(clients)
    ]
    before = len(psutil.Process(process.pid).net_connections())
    for thread in threads:
        thread.start()
    while len(psutil.Process(process.pid).net_connections()) < before + clients and not answered:
        time.sleep(0.001)  # until the service has all of them, or has begun to answer
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    process.wait(120)
    return len(answered)


def compare_times(checkpoint: Path, folder: Path, films: Sequence[bytes], rounds: int, clients: int) -> None:
    """Latency and throughput against the loop."""
    predictor = open_predictor(checkpoint, explain_sent=True)
    with service(checkpoint, folder) as (address, _):
        expected = loop(predictor, films)
        ask_all(address, films, clients)  # warm
        one, many, films_a_second = [], [], []
        for _ in range(rounds):
            times = []
            for way in (lambda: loop(predictor, films), lambda: ask_all(address, films, 1),
                        lambda: ask_all(address, films, clients)):  # fmt: skip
                start = time.perf_counter()
                answers = way()
                times.append(time.perf_counter() - start)
                np.testing.assert_allclose(answers, expected, atol=1e-4)
            one.append(times[1] / times[0])
            many.append(times[0] / times[2])
            films_a_second.append(len(films) / times[2])
    print(f"one client: {interval(one)} times as long as the loop (bar: 1.1, {verdict(statistics.median(one) <= 1.1)})")
    print(
        f"{clients} clients: {interval(many)} times the loop's films a second "
        f"(bar: 2, {verdict(statistics.median(many) >= 2)}), {statistics.median(films_a_second):.1f} films a second",
        flush=True,
    )


def endure(folder: Path, films: Sequence[bytes], count: int, clients: int) -> None:
    """Many requests to a small network: what is lost, what is wrong, what stays in memory; then the end."""
    settings = ["active_tasks=[covidx]", "model.backbone=timm:test_resnet", "data.image_size=64"]
    checkpoint = write_checkpoint(folder / "small.ckpt", settings)
    expected = loop(open_predictor(checkpoint, explain_sent=True, segmenter=None), films)
    with service(checkpoint, folder, "--segmenter", "none") as (address, process):
        memory, lost, wrong = [], 0, 0
        for tenth in range(10):
            numbers = [number % len(films) for number in range(tenth * count // 10, (tenth + 1) * count // 10)]
            answers = np.array(ask_all(address, [films[number] for number in numbers], clients))
            lost += int(np.isnan(answers).sum())
            wrong += int((np.abs(answers - [expected[number] for number in numbers]) > 1e-4).sum())
            memory.append(megabytes(process))
        more, course = memory[-1] - memory[2], ", ".join(f"{each:.0f}" for each in memory)
        print(
            f"{count} requests: {lost} lost, {wrong} answered otherwise than by the loop (bar: none, "
            f"{verdict(lost + wrong == 0)}); memory {course} MB, {more:+.0f} MB from three tenths on "
            f"(bar: flat, {verdict(more <= max(10, 0.05 * memory[2]))})",
            flush=True,
        )
        answered = end_under_way(address, process, films[0], clients)
        print(
            f"SIGTERM: {answered} of {clients} requests under way answered, status {process.returncode} "
            f"(bar: all, {verdict(answered == clients)})"
        )


def verdict(holds: bool) -> str:
    """A bar's result."""
    return "holds" if holds else "missed"


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.films, options.rounds, options.requests = 16, 3, 300
    torch.set_num_threads(1)

    films = make_films(options.films)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        checkpoint = (options.checkpoint or write_checkpoint(folder / "best.ckpt")).absolute()
        compare_times(checkpoint, folder, films, options.rounds, options.clients)
        endure(folder, make_films(16, side=96), options.requests, options.clients)


if __name__ == "__main__":
    main()
