"""Rounds of trainings under fire (``make chaos``): nothing may be lost, come twice, or go wrong silently.

In every round a training of a few steps meets one trouble at a random moment, and is then treated as a person would:
the same command again until it ends well, then `covidmt sync`. Its run in the tracking store must be that of a training
that nothing happened to, to the last metric and picture.

    python -m tests.helpers.chaos --rounds 60 --seed 0
"""

from __future__ import annotations

import argparse
import atexit
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from mlflow import MlflowClient

from tests.helpers import kill

TINY = [
    "experiments/demo.yaml",
    "active_tasks=[covidx,rsna_boxes]",
    "data.image_size=32",
    "data.num_workers=0",
    "data.epoch_length=5",
    "data.pairs.limit=3",
    "model.backbone=timm:test_resnet",
    "model.transition_channels=8",
    "model.boxes.channels=8",
    "robustness.overlays=1",
    "robustness.batch_size=4",
    "tracking.system_metrics=false",
    "checkpoint.every_n_steps=2",
    "trainer.accelerator=cpu",
    "trainer.deterministic=true",
    "trainer.enable_progress_bar=false",
    "trainer.max_epochs=2",
    "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2",
    "trainer.log_every_n_steps=1",
]
ATTEMPTS = 8  # the same command again, at most so often
Logged = Counter[tuple[Any, ...]]  # metrics (key, step, value) and pictures (key, step)


@dataclass
class Round:
    """One training and its trouble.

    Attributes:
        folder: Its working folder.
        arguments: Of `covidmt train`.
        uri: The store, as the harness asks it.
        experiment: Of MLflow.
        draw: Its random numbers.
        seconds: How long an undisturbed training takes.
        notes: What was done.
        attempts: Starts of the training.
    """

    folder: Path
    arguments: list[str]
    uri: str
    experiment: str
    draw: random.Random
    seconds: float
    notes: list[str] = field(default_factory=list)
    attempts: int = 0

    def start(self, *command: str) -> Any:
        """Start ``covidmt COMMAND``, by default the training, in a process of its own."""
        self.attempts += not command
        process = kill.start(self.folder, list(command) or ["train", *self.arguments])
        process.start()
        return process

    def wait(self, least: float = 0.0) -> float:
        """Sleep until a random moment of the training; return how long."""
        moment = self.draw.uniform(least, 1.05 * self.seconds)
        time.sleep(moment)
        return moment

    def run(self, *command: str) -> int:
        """``covidmt COMMAND`` to its end; return its exit status, negative: by a signal."""
        process = self.start(*command)
        process.join(600)
        return -signal.SIGALRM if process.is_alive() else process.exitcode

    @property
    def said(self) -> str:
        """All that the round's commands have printed."""
        return (self.folder / "log-0.txt").read_text(errors="replace")


Trouble = Callable[[Round], None]


def killed(this: Round) -> None:
    """SIGKILL, at one to three moments."""
    for _ in range(this.draw.randint(1, 3)):
        process = this.start()
        this.notes.append(f"SIGKILL after {this.wait():.2f} s")
        process.kill()
        process.join()


def told(this: Round) -> None:
    """SIGTERM, SIGUSR2 or SIGHUP."""
    process = this.start()
    signum = this.draw.choice([signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP])
    this.notes.append(f"{signum.name} after {this.wait():.2f} s")
    if process.is_alive():
        os.kill(process.pid, signum)
    process.join()


def full_disk(this: Round) -> None:
    """The disk is full from a moment on; then there is room again."""
    with mounted(this.folder, "32m"):
        process = this.start()
        this.notes.append(f"the disk is full after {this.wait():.2f} s")
        filler = this.folder / "filler"
        try:
            with filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(2**16))
        except OSError:
            pass
        process.join()
        this.notes.append(f"ended with {process.exitcode}")
        filler.unlink()
        _recover(this)
        copy = this.folder.with_name(f"{this.folder.name}-copy")
        shutil.copytree(this.folder, copy)
    shutil.copytree(copy, this.folder, dirs_exist_ok=True)


def spool_removed(this: Round) -> None:
    """The folder of spools is removed under the training."""
    process = this.start()
    this.notes.append(f"mlruns/spool removed after {this.wait():.2f} s")
    shutil.rmtree(this.folder / "mlruns" / "spool", ignore_errors=True)
    process.join()
    this.notes.append(f"ended with {process.exitcode}")


def mount_gone(this: Round) -> None:
    """The spool's file system is unmounted under the training, and does not come back."""
    spool = this.folder / "mlruns" / "spool"
    spool.mkdir()
    with mounted(spool, "8m"):
        process = this.start()
        this.notes.append(f"mlruns/spool unmounted after {this.wait():.2f} s")
        subprocess.run(["umount", "--lazy", str(spool)], check=True)
        process.join()
        this.notes.append(f"ended with {process.exitcode}")


def database_deleted(this: Round) -> None:
    """The store's database is deleted under the training."""
    process = this.start()
    moment = this.wait()
    if not list((this.folder / "mlruns" / "spool").glob("[!.]*/events.jsonl")):  # nothing is logged, or all is done
        this.notes.append(f"nothing was being logged after {moment:.2f} s")
        process.join()
        return
    this.notes.append(f"mlflow.db deleted after {moment:.2f} s")
    for path in (this.folder / "mlruns").glob("mlflow.db*"):
        path.unlink(missing_ok=True)
    process.join()
    this.notes.append(f"ended with {process.exitcode}")


def started_twice(this: Round) -> None:
    """Two equal commands at once, on an unfinished run; and a `covidmt sync` between them."""
    process = this.start()
    this.notes.append(f"SIGKILL after {this.wait():.2f} s, then two starts at once")
    process.kill()
    process.join()
    both = [this.start()]
    time.sleep(this.draw.uniform(0, 0.5))
    both.append(this.start())
    if this.draw.random() < 0.5:
        both.append(this.start("sync"))
        this.notes.append("and a sync")
    for process in both:
        process.join()
    this.notes.append(f"ended with {[process.exitcode for process in both]}")


def sick_server(this: Round) -> None:
    """The server answers with errors, late, or not at all, until the training has ended."""
    with ill(this.draw.choice([0.1, 0.4, 0.8])):
        this.notes.append(f"a server that is ill in {100 * Proxy.illness:.0f} % of requests")
        status = this.run()
        this.notes.append(f"ended with {status}")
        if this.draw.random() < 0.5 and status:
            this.notes.append(f"again: {this.run()}")


TROUBLES: list[Trouble] = [
    *(killed, told, full_disk, spool_removed, mount_gone, database_deleted, started_twice, sick_server),
]


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A file system of that size on the folder, which keeps what it holds."""
    content = list(folder.iterdir())
    aside = Path(tempfile.mkdtemp(dir=folder.parent))
    for path in content:
        shutil.move(path, aside)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    for path in aside.iterdir():
        shutil.move(path, folder)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


class Proxy(BaseHTTPRequestHandler):
    """Passes requests on to the server, but for those that it fails."""

    target = ""
    illness = 0.0  # share of requests
    draw = random.Random(0)

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.draw.random() < self.illness:
            kind = self.draw.choice(["503", "late", "cut", "taken"])
            if kind == "503":
                return self.send_error(503)
            if kind == "cut":
                return self.connection.close()
            if kind == "late":
                time.sleep(1.0)
            if kind == "taken":  # by the server, and the answer is lost on the way
                self._pass(body)
                return self.connection.close()
        status, headers, content = self._pass(body)
        self.send_response(status)
        for name in ("Content-Type", "Content-Disposition"):
            if headers.get(name):
                self.send_header(name, headers[name])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _pass(self, body: bytes) -> tuple[int, Any, bytes]:
        names = ("Content-Type", "Accept", "User-Agent")
        headers = {name: self.headers[name] for name in names if self.headers.get(name)}
        request = Request(self.target + self.path, data=body or None, headers=headers, method=self.command)
        try:
            with urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except HTTPError as error:
            return error.code, error.headers, error.read()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def ill(share: float) -> Iterator[None]:
    """The proxy fails that share of the requests."""
    Proxy.illness = share
    try:
        yield
    finally:
        Proxy.illness = 0.0


class Servers:
    """A real MLflow server, started when it is first needed, behind the `Proxy`."""

    def __init__(self, root: Path) -> None:
        self.root, self.process, self.uri = root, None, ""

    def proxy(self) -> str:
        """Return the proxy's address."""
        if self.process is None:
            from tests.covidmt.tracking.test_sender import Server

            self.process = Server(self.root)
            atexit.register(self.stop)
            self.process.start()
            Proxy.target = self.process.uri
            front = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
            threading.Thread(target=front.serve_forever, daemon=True).start()
            self.uri = f"http://127.0.0.1:{front.server_address[1]}"
        return self.uri

    def stop(self) -> None:
        """End the server."""
        if self.process is not None:
            self.process.kill()


def read_runs(uri: str, experiment: str) -> dict[str, tuple[str, Logged]]:
    """Return run id -> status, and what it logged, as the store has it."""
    if uri.startswith("sqlite:") and not Path(uri.removeprefix("sqlite:///")).exists():
        return {}  # MLflow would make it
    client = MlflowClient(uri)
    known = client.get_experiment_by_name(experiment)
    runs = client.search_runs([known.experiment_id]) if known else []
    logged = {}
    for run in runs:
        run_id, points = run.info.run_id, Counter()
        for key in run.data.metrics:
            points.update((key, point.step, point.value) for point in client.get_metric_history(run_id, key))
        points.update(tuple(file.path.split("+")[:3]) for file in client.list_artifacts(run_id, "images"))
        logged[run_id] = run.info.status, points
    return logged


@dataclass
class Verdict:
    """What a round has come to: numbers of metric points and pictures, and of silent ends."""

    lost: int = 0
    twice: int = 0
    silent: int = 0


def judge(expected: Logged, runs: dict[str, tuple[str, Logged]], status: int, said: str) -> Verdict:
    """Compare the runs of a round with an undisturbed one.

    Args:
        expected: What that one logged.
        runs: Of the round.
        status: Exit status of the last command.
        said: All that was printed.
    """
    whole = [run for run in runs.values() if run[0] == "FINISHED"]
    best = max((logged for _, logged in whole), key=lambda logged: (logged & expected).total(), default=Counter())
    lost = (expected - best).total()
    twice = max(((logged - expected).total() for _, logged in runs.values()), default=0)
    endless = [run_id for run_id, (state, _) in runs.items() if state == "RUNNING"]
    told_so = status != 0 or "vanished while it was logged, and with it" in said
    return Verdict(lost, twice, int(bool(lost or endless) and not told_so))


def _recover(this: Round) -> int:
    """Do what a person does: the same command until it ends well, then sync; return the last exit status."""
    status = 1
    while status and this.attempts < ATTEMPTS:
        status = this.run()
        if status and "covidmt sync" in this.said[-2000:] and "makes the run anew" in this.said[-2000:]:
            this.notes.append("made anew")
            return this.run("sync")
    for _ in range(3):
        status = this.run("sync")
        if status == 0:
            break
    return status


def play(this: Round, trouble: Trouble, expected: Logged) -> Verdict:
    """Play one round."""
    trouble(this)
    done = "makes the run anew" in (this.said if (this.folder / "log-0.txt").exists() else "")
    finished = [state for state, _ in read_runs(this.uri, this.experiment).values() if state == "FINISHED"]
    status = this.run("sync") if done or finished else _recover(this)
    return judge(expected, read_runs(this.uri, this.experiment), status, this.said)


def main(arguments: list[str] | None = None) -> int:
    """Play all rounds; print one line each and the sum; return how many went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="Leave out the rounds before this one.")
    parser.add_argument("--only", metavar="TROUBLE", help=", ".join(trouble.__name__ for trouble in TROUBLES))
    parser.add_argument("--keep", action="store_true", help="Keep the folders of rounds that go wrong.")
    chosen = parser.parse_args(arguments)
    from datamodules.demo.write import write_demo

    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    write_demo(root / "data", seed=0, size=64, patients=48)
    servers, begin, sums = Servers(root), time.monotonic(), Verdict()
    calm = _new_round(root, "calm", random.Random(0), 0.0, "")
    assert calm.run() == 0, calm.said
    again = _new_round(root, "measured", random.Random(0), 0.0, "")
    start = time.monotonic()
    assert again.run() == 0, again.said
    seconds = time.monotonic() - start
    ((_, expected),) = read_runs(calm.uri, calm.experiment).values()
    print(
        f"seed {chosen.seed}: an undisturbed training takes {seconds:.1f} s and logs {expected.total()} points",
        flush=True,
    )

    # troubles in turn, so that each comes about equally often; their order and moments are drawn
    draw, wrong = random.Random(chosen.seed), 0
    troubles = [trouble for trouble in TROUBLES if chosen.only in (None, trouble.__name__)]
    order = [troubles[number % len(troubles)] for number in range(chosen.rounds)]
    draw.shuffle(order)
    for number, trouble in enumerate(order):
        proxy, moments = random.Random(draw.random()), random.Random(draw.random())
        if number < chosen.first:
            continue
        Proxy.draw = proxy
        uri = servers.proxy() if trouble is sick_server else ""
        this = _new_round(root, f"round-{number}", moments, seconds, uri)
        verdict = play(this, trouble, expected)
        bad = verdict != Verdict()
        wrong += bad
        sums = Verdict(sums.lost + verdict.lost, sums.twice + verdict.twice, sums.silent + verdict.silent)
        mark = f"WRONG {verdict}" if bad else "well"
        print(
            f"{number:3d} {trouble.__name__:17} {mark}: {'; '.join(this.notes)}; {this.attempts} start(s)", flush=True
        )
        if bad and chosen.keep:
            print(f"    {this.folder}")
        else:
            shutil.rmtree(this.folder, ignore_errors=True)
    servers.stop()
    minutes = (time.monotonic() - begin) / 60
    print(
        f"{chosen.rounds - chosen.first} rounds in {minutes:.1f} min: {sums.lost} lost, {sums.twice} twice, "
        f"{sums.silent} silent"
    )
    if not (wrong and chosen.keep):
        shutil.rmtree(root, ignore_errors=True)
    return wrong


def _new_round(root: Path, name: str, draw: random.Random, seconds: float, server: str) -> Round:
    folder = root / name
    (folder / "mlruns").mkdir(parents=True)
    shutil.copyfile(kill._empty_store(), folder / "mlruns" / "mlflow.db")
    experiment = f"chaos-{name}"
    arguments = [*TINY, f"data.root={root / 'data'}", f"tracking.experiment={experiment}"]
    if server:
        arguments.append(f"tracking.uri={server}")
    uri = server or f"sqlite:///{folder}/mlruns/mlflow.db"
    return Round(folder, arguments, uri, experiment, draw, seconds)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    multiprocessing.set_start_method("forkserver", force=True)
    sys.exit(min(1, main()))
