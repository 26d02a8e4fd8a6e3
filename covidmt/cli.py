"""The command line. Heavy imports stay inside the commands, so that ``--help`` answers at once."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from experiments.errors import UserError

app = typer.Typer(
    name="covidmt",
    help="Chest X-ray models that must survive a phone: train, and measure prediction instability (PI) and "
    "out-of-lung saliency (OLS). Any command takes --debug: a mistake then shows its traceback too.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at data sets, or make made-up ones.", no_args_is_help=True)
lungs_app = typer.Typer(help="Lung segmentation: train a U-Net, write masks.", no_args_is_help=True)
weights_app = typer.Typer(help="ImageNet weights for machines without internet.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(lungs_app, name="lungs")
app.add_typer(weights_app, name="weights")
pairs_app = typer.Typer(
    help="Image pairs in WaCXR's layout: make them, or match what a phone received.", no_args_is_help=True
)
app.add_typer(pairs_app, name="pairs")
sweep_app = typer.Typer(help="An experiment many times: on this machine's GPUs, or on SLURM.", no_args_is_help=True)
app.add_typer(sweep_app, name="sweep")

ExperimentFile = Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="An experiment YAML.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Overrides, e.g. data.root=/data/cxr trainer.devices=4"),
]
Processes = Annotated[int | None, typer.Option(min=1, help="As many at a time; default: as many as there are cores.")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the resolved experiment and stop.")]


LungSegmenter = Annotated[
    str, typer.Option(metavar="NAME", help="covidmt, torchxrayvision, or a checkpoint of `covidmt lungs train`.")
]


@app.command()
def train(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    print_config: PrintConfig = False,
    resume: Annotated[
        str,
        typer.Option(
            metavar="auto|never|RUN_ID",
            help="auto: go on with the newest run of the same settings in this folder that did not finish, if any.",
        ),
    ] = "auto",
) -> None:
    """Train an experiment; PI, OLS and Grad-CAM pictures go to MLflow at every validation epoch."""
    from experiments.load import load_experiment, to_yaml

    loaded = load_experiment(experiment, overrides or [])
    if print_config:
        from covidmt.trainer import check_arguments

        check_arguments(loaded.trainer)
        typer.echo(to_yaml(loaded), nl=False)
        return
    from callbacks.preemption import Preempted
    from covidmt.tracking.logger import global_rank
    from covidmt.training.train import train

    try:
        train(loaded, resume)
    except Preempted as stop:
        if global_rank() == 0:
            typer.secho(f"covidmt: {stop}; the same command goes on from there.", err=True)
            raise typer.Exit(128 + stop.signum) from stop


@app.command()
def predict(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT|RUN", help="A checkpoint file, or a run's id.")],
    images: Annotated[list[str], typer.Argument(help="Images (PNG, JPEG, DICOM, ...), or folders of them.")],
    channel: Annotated[
        list[str] | None, typer.Option(help="Does the decision survive it? May be given several times.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for predictions.jsonl and the pictures.")] = Path(
        "predictions"
    ),
    segmenter: Annotated[
        str, typer.Option(metavar="NAME|CHECKPOINT|none", help="What finds the lungs; none: they are not looked for.")
    ] = "covidmt",
) -> None:
    """Ask a trained network about images: its answer, whether it survives a phone, whether it looks at the lungs.

    Research software, not a medical device: no answer is a diagnosis.
    """
    from covidmt.prediction.predict import predict

    predict(
        checkpoint,
        images,
        channels=channel or ["whatsapp"],
        out=out,
        segmenter=None if segmenter == "none" else segmenter,
    )


@app.command()
def evaluate(
    reference: Annotated[str, typer.Argument(metavar="RUN|CHECKPOINT", help="A run's id or a checkpoint file.")],
    overrides: Overrides = None,
    pairs: Annotated[
        str | None, typer.Option(help="A source of the experiment, or a folder of `covidmt pairs make`.")
    ] = None,
    split: Annotated[Literal["test", "val"], typer.Option(help="val: validation images, simulated channel.")] = "test",
    channel: Annotated[
        list[str] | None, typer.Option(help="PI through this channel too; can be given several times.")
    ] = None,
    channel_limit: Annotated[int, typer.Option(min=1, help="Originals that go through channels and qualities.")] = 500,
    against: Annotated[
        list[str] | None, typer.Option(metavar="RUN|CHECKPOINT", help="Compare on the same images; several times.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Of the bootstrap over patients.")] = 2000,
    out: Annotated[Path | None, typer.Option(help="Folder; default: below mlruns/evaluations.")] = None,
) -> None:
    """Every score of a trained network with its interval and controls: table, JSON, CSV and an HTML report."""
    from covidmt.evaluation.evaluate import evaluate

    evaluate(
        reference,
        overrides or [],
        pairs=pairs,
        split=split,
        channels=channel or [],
        channel_limit=channel_limit,
        against=against or [],
        resamples=resamples,
        out=out,
    )


@app.command()
def ui(
    uri: Annotated[str | None, typer.Option(help="Tracking URI; default: as for training.")] = None,
    port: Annotated[int, typer.Option(help="Port on localhost.")] = 5000,
) -> None:
    """Open the MLflow UI on the project's own store."""
    from covidmt.tracking.store import resolve_uri
    from covidmt.tracking.ui import open_ui
    from experiments.schema import Tracking

    open_ui(resolve_uri(Tracking(uri=uri)), port)


@app.command()
def report(
    names: Annotated[list[str], typer.Argument(metavar="SWEEP|RUN...", help="Sweep names, or ids of runs.")],
    out: Annotated[Path, typer.Option(help="Folder for the HTML page, tables and figures.")] = Path("report"),
    uri: Annotated[str | None, typer.Option(help="Tracking URI; default: as for training.")] = None,
) -> None:
    """Which configuration is more stable, by how much, how sure: a page, figures and tables beside the paper's."""
    from covidmt.comparison.report import report as write_report
    from covidmt.tracking.store import resolve_uri
    from experiments.schema import Tracking

    typer.echo(f"report: {write_report(names, out, resolve_uri(Tracking(uri=uri)))}")


@app.command()
def panel(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep that varies data.view.")],
    images: Annotated[list[str] | None, typer.Argument(help="Images; none: test images drawn by seed.")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture.")] = Path("panel.png"),
    network: Annotated[str | None, typer.Option(help="Base network; default: the sweep's first.")] = None,
    seed: Annotated[str | None, typer.Option(help="Seed of the trainings.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Images of each class, where none are named.")] = 1,
    segmenter: Annotated[
        str | None, typer.Option(help="What finds the lungs; default: each network's own masks (data.masks).")
    ] = None,
    uri: Annotated[str | None, typer.Option(help="Tracking URI; default: as for training.")] = None,
) -> None:
    """ROI Hide-and-Seek: images in their representations, with the answers and Grad-CAMs of each one's network."""
    from covidmt.comparison.panel import panel as draw_panel
    from covidmt.tracking.store import resolve_uri
    from experiments.schema import Tracking

    store = resolve_uri(Tracking(uri=uri))
    draw_panel([sweep], images or [], out, store, network=network, seed=seed, rows=rows, segmenter=segmenter)


@app.command()
def sync() -> None:
    """Send what a run could not send while its tracking server was away."""
    from covidmt.tracking.spool import sync as send
    from covidmt.tracking.store import mlruns_dir

    left = 0
    for run in send(mlruns_dir() / "spool"):
        if not run.uri:
            typer.echo(f"{run.run_id}: {run.problem}")
            continue
        typer.echo(f"{run.run_id}: {run.sent} events sent to {run.uri}" + (f"; {run.problem}" if run.problem else ""))
        left += run.problem is not None
    if left:
        raise UserError(f"{left} run(s) not wholly sent; nothing is lost, run `covidmt sync` again later")


@data_app.command()
def check(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    limit: Annotated[int | None, typer.Option(help="Open at most so many files of each class.")] = None,
) -> None:
    """Counts per split and class, problems, leakage between splits, shortcut risks."""
    from rich.console import Console
    from rich.progress import track

    from datamodules.check import check as check_data
    from datamodules.check import print_report
    from experiments.load import load_experiment

    def progress(files, total):
        return track(files, total=total, description="Opening images")

    report = check_data(load_experiment(experiment, overrides or []), limit=limit, progress=progress)
    print_report(report, Console())
    if report.errors:
        raise UserError(f"{len(report.errors)} problem(s) that would stop or spoil a training, listed above")


@data_app.command()
def cache(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    processes: Processes = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare all checksums, and decode anew what is damaged.")
    ] = False,
) -> None:
    """Decode all images of an experiment into data.cache. Train does it too; the same command goes on."""
    from datamodules.dataset import batch_groups
    from datamodules.multitask import fill_cache
    from datamodules.sources.table import load_tables
    from experiments.load import load_experiment

    loaded = load_experiment(experiment, overrides or [])
    if loaded.data.cache is None:
        raise UserError("data.cache is null: name a folder for the cache, e.g. data.cache=mlruns/images")
    groups = batch_groups(loaded.active, load_tables(loaded.data, {task.source for task in loaded.active}))
    for cached in fill_cache(loaded.data, groups, processes=processes, verify=verify) or []:
        typer.echo(f"{cached.path}: {len(cached)} images, all there")


@data_app.command()
def demo(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An empty or new folder, or an older demo set.")],
    seed: Annotated[int, typer.Option(help="Another seed draws other chests.")] = 0,
) -> None:
    """Write made-up chest X-rays in each data set's own layout, with lung masks."""
    from datamodules.demo.write import write_demo

    write_demo(directory, seed=seed)
    typer.echo(f"made-up data sets: {directory}")


@lungs_app.command("train")
def lungs_train(experiment: ExperimentFile, overrides: Overrides = None, print_config: PrintConfig = False) -> None:
    """Train the lung U-Net; ends with F1, Jaccard, precision and recall per class."""
    from experiments.load import load_lungs_experiment, to_yaml

    loaded = load_lungs_experiment(experiment, overrides or [])
    if print_config:
        from covidmt.trainer import check_arguments

        check_arguments(loaded.trainer)
        typer.echo(to_yaml(loaded), nl=False)
        return
    from covidmt.lungs.train import train

    train(loaded)


@lungs_app.command("cross-validate")
def lungs_cross_validate(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    folds: Annotated[int, typer.Option(help="Number of folds, of whole patients.")] = 5,
) -> None:
    """Train and score a lung experiment fold by fold; ends with the mean Dice per image and its interval."""
    from covidmt.lungs.scores import cross_validate
    from experiments.load import load_lungs_experiment

    cross_validate(load_lungs_experiment(experiment, overrides or []), folds)


@lungs_app.command("score")
def lungs_score(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    segmenter: LungSegmenter = "covidmt",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
) -> None:
    """Score a segmenter on the masks of a lung experiment: mean Dice per image and its interval."""
    from covidmt.lungs.scores import score
    from experiments.load import load_lungs_experiment

    score(load_lungs_experiment(experiment, overrides or []), segmenter, split)


@lungs_app.command("masks")
def lungs_masks(
    images: Annotated[Path, typer.Argument(help="An image or a folder of images.")],
    out: Annotated[Path, typer.Argument(help="Folder for the masks, <image stem>.png.")],
    segmenter: LungSegmenter = "covidmt",
) -> None:
    """Write a lung mask for every image of a folder."""
    from covidmt.lungs.train import write_masks

    write_masks(segmenter, images, out)


@lungs_app.command("export")
def lungs_export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of `covidmt lungs train`.")],
    out: Annotated[Path, typer.Argument(help="The file to write.")],
) -> None:
    """Write a trained segmenter in half precision, to be passed on."""
    from covidmt.lungs.train import export

    export(checkpoint, out)


@weights_app.command("fetch")
def weights_fetch(
    name: Annotated[str, typer.Argument(help="A base network: resnet50, timm:tf_efficientnet_lite0, ...")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the file goes.")],
) -> None:
    """Download ImageNet weights into a folder, to be carried to a machine without internet."""
    from lightning_modules.networks.weights import fetch

    path = fetch(name, directory)
    typer.echo(f"{path}\nuse it with: model.weights={path}")


Positive = Annotated[
    str, typer.Option(metavar="CLASS", help="The class folder that is COVID-19, where the names lack 0_ and 1_.")
]
Link = Annotated[bool, typer.Option("--link", help="Hard-link instead of copying (one file system).")]


@pairs_app.command("make")
def pairs_make(
    source: Annotated[Path, typer.Argument(help="A folder of class folders with images, or of images.")],
    out: Annotated[Path, typer.Argument(help="Folder for the pairs; several channels can share it.")],
    channel: Annotated[str, typer.Option(help="E.g. whatsapp, whatsapp+whatsapp, resize:1600+jpeg:70")] = "whatsapp",
    positive: Positive = "COVID-19",
    link: Link = False,
    processes: Processes = None,
) -> None:
    """Send images through a simulated channel. The same command goes on with an interrupted run."""
    from covidmt.pairs.make import make

    make(source, out, channel, positive=positive, link=link, processes=processes)


@pairs_app.command("match")
def pairs_match(
    originals: Annotated[Path, typer.Argument(help="What was sent: class folders with images, or images.")],
    received: Annotated[Path, typer.Argument(help="A folder with what the phone received.")],
    out: Annotated[Path, typer.Argument(help="New folder for the pairs.")],
    channel: Annotated[str, typer.Option(help="Names the folder of the received images.")] = "whatsapp",
    positive: Positive = "COVID-19",
    by_time: Annotated[
        bool, typer.Option("--by-time", help="Originals were sent by modification time, not by name.")
    ] = False,
    link: Link = False,
    processes: Processes = None,
) -> None:
    """Pair files that really went through a phone with their originals, by perceptual hash and order of time."""
    from covidmt.pairs.match import match

    match(originals, received, out, channel=channel, positive=positive, by_time=by_time, link=link, processes=processes)


@sweep_app.command("run")
def sweep_run(
    sweep: Annotated[Path, typer.Argument(metavar="FILE", help="A sweep YAML (experiments/trials.py has its keys).")],
    overrides: Overrides = None,
    launcher: Annotated[str | None, typer.Option(metavar="local|slurm", help="As launcher.kind=...")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the trials and stop.")] = False,
    resume: Annotated[
        str,
        typer.Option(
            metavar="auto|never|RUN",
            help="auto: what is missing, failed or stopped; never: all afresh; RUN: the start of that parent run.",
        ),
    ] = "auto",
) -> None:
    """Start a sweep's trials. The same command again starts those that are not finished and do not run."""
    from covidmt.sweeps.run import run

    chosen = [*(overrides or []), *([f"launcher.kind={launcher}"] if launcher else [])]
    run(sweep, chosen, resume=resume, dry_run=dry_run)


SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep's name or file.")]


@sweep_app.command("status")
def sweep_status(
    sweep: SweepName,
    watch: Annotated[bool, typer.Option("--watch", help="Until all trials have ended.")] = False,
    interval: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 10,
) -> None:
    """State, epoch, PI, OLS, node, time and log of every trial; why one failed."""
    from covidmt.sweeps.folder import SweepFolder
    from covidmt.sweeps.status import show

    show(SweepFolder.named(sweep), interval if watch else None)


@sweep_app.command("cancel")
def sweep_cancel(
    sweep: SweepName,
    trials: Annotated[list[str] | None, typer.Argument(metavar="[TRIAL]...", help="Only these.")] = None,
) -> None:
    """End trials; `covidmt sweep run` goes on with them."""
    from covidmt.sweeps.run import cancel

    cancel(sweep, trials or [])


@sweep_app.command("logs")
def sweep_logs(
    trial: Annotated[str, typer.Argument(help="A trial's id or its beginning, or SWEEP/TRIAL.")],
    rank: Annotated[int, typer.Option(min=0, help="Of which process (SLURM).")] = 0,
) -> None:
    """Print what a trial's process wrote."""
    from covidmt.sweeps.status import print_log

    print_log(trial, rank)


def main() -> None:
    """Entry point: a :class:`UserError` is one message and exit status 2."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    for argument in arguments:
        if not argument.isprintable() and argument.encode(errors="ignore").decode() != argument:
            _refuse(f"{argument!a}: is not UTF-8, so it cannot be written down anywhere; rename the file")
    try:
        app(args=arguments, prog_name="covidmt")
    except UserError as error:
        if len(arguments) < len(sys.argv) - 1:
            raise
        # A data loader's worker wraps the message in its own traceback.
        message = str(error).rpartition("experiments.errors.UserError: ")[2].strip()
        _refuse(message)
    except OSError as error:
        if len(arguments) < len(sys.argv) - 1 or not (error.filename or error.errno in _STORAGE):
            raise
        if error.errno not in _STORAGE:  # such as a file in place of a folder
            _refuse(f"{error.filename}: cannot be used ({error.strerror}); name another place, or put this one right")
        where, use = error.filename or "the output", "read or written" if error.errno in _RIGHTS else "written"
        _refuse(f"{where}: cannot be {use} ({error.strerror}); make room or set the folder's rights, then start again")


_RIGHTS = (errno.EACCES, errno.EPERM)
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, *_RIGHTS)


def _refuse(message: str) -> NoReturn:
    typer.secho(f"covidmt: {message}", err=True, fg=typer.colors.RED)
    sys.exit(2)


if __name__ == "__main__":
    main()
