"""How long does `covidmt pairs make` take for WaCXR's 6,562 originals of about 1 MB?

Draws originals (made-up chests with film noise, PNG of about 1 MB), sends them with two processes, and with a plain
single-process PIL loop in the same run, in turns. ``python benchmarks/pairs_make.py [originals] [processes]``
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from covidmt.pairs.make import make_pairs
from datamodules.demo.anatomy import Anatomy
from datamodules.demo.phantom import draw_chest

WACXR, ROUNDS, SIDE = 6_562, 3, 1220


def draw_originals(folder: Path, count: int) -> None:
    """``count`` different images: a few chests, each with noise of its own (noise is what fills a PNG)."""
    rng = np.random.default_rng(0)
    chests = [draw_chest(Anatomy.draw(512, rng), [], rng, size=512).image for _ in range(4)]
    large = [np.asarray(Image.fromarray(chest).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for chest in chests]
    folder.mkdir(parents=True)
    for index in range(count):
        image = large[index % len(large)] + rng.normal(0, 5, (SIDE, SIDE))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{index:04d}.png", compress_level=3)


def plain_loop(source: Path, out: Path) -> None:
    """What a script would do: no manifest, no hashes, no copy of the originals."""
    out.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((1600, 1600))
        picture.save(out / f"{path.stem}.jpeg", quality=70, subsampling="4:2:0")


def main(count: int = 60, processes: int = 2) -> None:
    """Print both times and the projection."""
    times: dict[str, list[float]] = {"make": [], "loop": []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = root / "source" / "1_COVID-19"
        draw_originals(source, count)
        size = statistics.mean(path.stat().st_size for path in source.iterdir())
        draw_originals(root / "few" / "1_COVID-19", processes)
        begin = time.perf_counter()
        make_pairs(root / "few", root / "made of few", processes=processes)
        start = time.perf_counter() - begin  # a fresh process pool, which the rounds below find warm
        for _ in range(ROUNDS):
            for name, run in (
                ("make", lambda: make_pairs(source.parent, root / "make", processes=processes)),
                ("loop", lambda: plain_loop(source, root / "loop")),
            ):
                begin = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - begin)
                shutil.rmtree(root / name)
    made, loop = (statistics.median(some) for some in times.values())
    print(f"{count} originals of {size / 1e6:.2f} MB, {SIDE} px; median of {ROUNDS} runs, in turns")
    print(f"pairs make, {processes} processes   {made:6.2f} s   {count / made:6.1f} files/s   (pool: {start:.1f} s)")
    print(f"plain PIL loop, 1 process  {loop:6.2f} s   {count / loop:6.1f} files/s   {loop / made:.2f}x as long")
    print(f"{WACXR:,} originals with pairs make: {(start + WACXR / count * made) / 60:.1f} minutes at this rate")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
