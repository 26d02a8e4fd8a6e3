"""One epoch at full data size on 1, 4, 8, 32 GPUs: what a step waits for, with and without ``data.cache``.

    python benchmarks/scaling.py --data ../shared/mini-cxr [--gpu-images 700] [--disk 2] [--network 25] [...]

A step takes as long as the slowest of three things that run at the same time: the GPU (forward and backward, the host's
fixed cost, and what of the all-reduce the backward pass does not hide, which is taken to hide half of the compute's
time); the loader's workers; the disk. The batch is per process, so that an epoch on more GPUs has fewer steps, of a
larger global batch.

Measured here, on one core: milliseconds of CPU time an image, decoded (RSNA DICOM and 1024 px PNG, half each) and
from the cache; the files' size; the network's parameters; an all-reduce of its gradients over two processes (gloo,
loopback: what the CPU path costs, not what NCCL does). All else is an assumption, given by the options and printed.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from input_pipeline import batches, data_set
from timing import rounds

from datamodules.images.cache import ImageCache
from experiments.load import SHIPPED, load_experiment
from lightning_modules.multitask import MultiTaskModule


class Measured(NamedTuple):
    """What this machine says.

    Attributes:
        decode: Seconds an image of the whole pipeline, decoded each time.
        cached: From the cache.
        file: Bytes of a file.
        gradients: Bytes of the network's gradients.
        all_reduce: Seconds of their all-reduce over two processes.
    """

    decode: float
    cached: float
    file: float
    gradients: int
    all_reduce: float


def measure(data: Path, size: int, images: int, network: str) -> Measured:
    """The measured parts."""
    dicom = sorted(data.glob("rsna/stage_2_train_images/*.dcm"))[: images // 2]
    png = sorted(data.glob("wacxr/covid_binary_test/0_*/*.png"))[: images // 2]
    paths = [str(path) for path in dicom + png]
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
        cache = ImageCache(place, "scaling", size)
        cache.fill(paths, processes=1)
        plain, cached = data_set(paths, size, None), data_set(paths, size, cache)
        ways = {"decode": lambda: batches(plain, len(paths)), "cached": lambda: batches(cached, len(paths))}
        times = {way: statistics.median(some) / len(paths) for way, some in rounds(ways, 3).items()}
    settings = [f"model.backbone={network}", "model.pretrained=false"]
    module = MultiTaskModule(load_experiment(SHIPPED / "covidmt_resnet50.yaml", settings))
    count = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    with tempfile.TemporaryDirectory() as place:
        mp.spawn(_all_reduce, (count, place), nprocs=2)
        seconds = float((Path(place) / "seconds").read_text())
    return Measured(times["decode"], times["cached"], statistics.mean(map(os.path.getsize, paths)), 4 * count, seconds)


def _all_reduce(rank: int, count: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    gradients, times = torch.zeros(count), []
    for _ in range(5):
        dist.barrier()
        start = time.perf_counter()
        dist.all_reduce(gradients)
        times.append(time.perf_counter() - start)
    if rank == 0:
        (Path(folder) / "seconds").write_text(str(statistics.median(times)))
    dist.destroy_process_group()


def epoch(gpus: int, image: float, read: float, gradients: int, options: argparse.Namespace) -> tuple[list[float], int]:
    """Milliseconds of a step that GPU, exposed all-reduce, workers and disk take; steps of an epoch.

    Args:
        gpus: How many.
        image: CPU seconds an image takes.
        read: Bytes an image takes from the disk.
        gradients: Bytes.
        options: The assumptions.
    """
    batch = 3 * options.batch
    compute = batch / options.gpu_images + options.fixed / 1e3
    bandwidth = options.nvlink if gpus <= options.node else options.network
    reduce = 2 * (gpus - 1) / gpus * gradients / (bandwidth * 1e9)
    exposed = max(0.0, reduce - compute / 2)
    workers = batch * image / options.cores
    disk = batch * read * min(gpus, options.node) / (options.disk * 1e9)
    return [1e3 * each for each in (compute, exposed, workers, disk)], math.ceil(
        options.images / (options.batch * gpus)
    )


def main(options: argparse.Namespace) -> None:
    """Print the table."""
    found = measure(options.data, options.size, options.count, options.backbone)
    print(
        f"measured: {1e3 * found.decode:.2f} ms an image decoded, {1e3 * found.cached:.2f} ms cached (one core); "
        f"{found.file / 1e3:.0f} KB a file; gradients {found.gradients / 1e6:.0f} MB, their all-reduce over two "
        f"processes {found.all_reduce:.2f} s (gloo, loopback: {found.gradients / found.all_reduce / 1e9:.1f} GB/s)"
    )
    names = ("images", "batch", "gpu_images", "fixed", "cores", "disk", "nvlink", "network", "node")
    print("assumed: " + ", ".join(f"--{name.replace('_', '-')} {getattr(options, name)}" for name in names))
    print("GPUs  input       GPU all-reduce  workers   disk  ms a step    epoch  waits for")
    for gpus in options.gpus:
        for name, image, read in (("decoded", found.decode, found.file), ("cached", found.cached, options.size**2)):
            (compute, exposed, workers, disk), steps = epoch(gpus, image, read, found.gradients, options)
            waits = {"workers": workers, "disk": disk, "GPU, then all-reduce" if exposed else "GPU": compute + exposed}
            slowest = max(waits, key=lambda each: waits[each])
            seconds = steps * waits[slowest] / 1e3
            print(
                f"{gpus:4}  {name:8} {compute:6.1f} {exposed:10.1f} {workers:8.1f} {disk:6.1f}  {waits[slowest]:9.1f} "
                f"{seconds:6.0f} s  {slowest}"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with rsna/ and wacxr/")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--count", type=int, default=24, help="images measured")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 4, 8, 32])
    parser.add_argument("--images", type=int, default=18_868, help="of COVIDx 3 a pass, up-sampled")
    parser.add_argument("--batch", type=int, default=4, help="images of each of the three sources, per process")
    parser.add_argument("--gpu-images", type=float, default=700, help="images a second a GPU trains on")
    parser.add_argument("--fixed", type=float, default=5, help="ms a step: the bar of benchmarks/step.py")
    parser.add_argument("--cores", type=int, default=8, help="loader workers a GPU")
    parser.add_argument("--disk", type=float, default=2, help="GB/s a machine reads")
    parser.add_argument("--nvlink", type=float, default=200, help="GB/s of an all-reduce within a machine")
    parser.add_argument("--network", type=float, default=20, help="GB/s of an all-reduce between machines")
    parser.add_argument("--node", type=int, default=8, help="GPUs a machine")
    main(parser.parse_args())
