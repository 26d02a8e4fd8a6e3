"""Shoots the pictures of docs/comparing.md: a small real sweep on made-up chests, then MLflow's UI in a browser.

    uv pip install playwright
    python docs/screenshots.py [--browser /usr/bin/chromium] [--project DIR]

Needs an installed Chromium. The sweep (eight trainings, minutes on two cores) runs in a temporary project;
``--project`` keeps it, and a later call with the same folder shoots again without training.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from tracking_load import free_port, wait_for

from covidmt.tracking.store import Store
from experiments.load import SHIPPED

DOCS = Path(__file__).parent
COVIDMT = [sys.executable, "-m", "covidmt"]
SWEEP = f"""\
experiment: {SHIPPED}/demo.yaml
overrides:
  data: {{image_size: 96, num_workers: 0, epoch_length: 12, pairs: {{limit: 24}}}}
  robustness: {{overlays: 2}}
  trainer: {{max_epochs: 3, accelerator: cpu, enable_progress_bar: false}}
grid:
  model.backbone: [resnet18, resnet34]
  active_tasks:
    - [covidx]
    - [covidx, rsna_boxes, infiltration, effusion, atelectasis, nodule]
seeds: [0, 1]
"""


def make_project(folder: Path) -> None:
    """The made-up data, the sweep, its report."""
    (folder / "sweep.yaml").write_text(SWEEP)
    if not (folder / "demo-data").is_dir():
        subprocess.run([*COVIDMT, "data", "demo", "demo-data"], cwd=folder, check=True)
    subprocess.run([*COVIDMT, "sweep", "run", "sweep.yaml"], cwd=folder, check=True)
    subprocess.run([*COVIDMT, "report", "sweep"], cwd=folder, check=True)


@contextmanager
def ui(folder: Path) -> Generator[str]:
    """``covidmt ui`` on the project; its address."""
    port = free_port()
    with open(folder / "ui.log", "w") as log:
        process = subprocess.Popen([*COVIDMT, "ui", "--port", str(port)], cwd=folder, stdout=log, stderr=log)
    try:
        wait_for(port, process, folder / "ui.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def shoot(page: Page, name: str) -> None:
    """A picture of what the window shows; small: 256 colours are enough for a user interface."""
    page.wait_for_timeout(20_000)  # the UI asks its server again and again, so there is no end to wait for
    path = DOCS / f"{name}.png"
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1024} kB")


class View:
    """The experiment's page, set up as a person would by clicking: MLflow's UI keeps that in the browser's storage."""

    def __init__(self, page: Page, address: str, experiment: str) -> None:
        self.page, self.experiment = page, experiment
        self.address = f"{address}/#/experiments/{experiment}/runs?workflowType=machine_learning"
        self.key = f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment}"]-ReactComponentState'

    def open(self, *, charts: bool = False, **state: Any) -> None:
        """The table, or the charts, with these settings over MLflow's own."""
        page, mode = self.page, "&compareRunsMode=CHART" if charts else ""
        page.goto(self.address, wait_until="domcontentloaded")
        page.get_by_text("matching runs").wait_for()
        page.wait_for_function("key => key in localStorage", arg=self.key)
        page.evaluate("localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')")
        page.evaluate(
            "([key, state]) => localStorage.setItem(key, JSON.stringify({...JSON.parse(localStorage[key]), ...state}))",
            [self.key, {"runsHiddenMode": "SHOWALL", "isAccordionReordered": True} | state],
        )
        page.goto("about:blank")
        page.goto(self.address + mode, wait_until="domcontentloaded")
        page.get_by_text("matching runs").wait_for()

    def widen(self, column: str, pixels: int) -> None:
        """Drags the right edge of a column's head."""
        box = self.page.get_by_role("columnheader", name=column).first.bounding_box()
        assert box is not None
        edge, middle = box["x"] + box["width"] - 1, box["y"] + box["height"] / 2
        self.page.mouse.move(edge, middle)
        self.page.mouse.down()
        self.page.mouse.move(edge + pixels, middle, steps=5)
        self.page.mouse.up()
        self.page.mouse.move(0, 0)


def chart(kind: str, name: str, **settings: Any) -> dict[str, Any]:
    """One chart of the section ``ours``."""
    common = {"runsCountToCompare": 100, "metricSectionId": "ours", "deleted": False, "isGenerated": False}
    return {"uuid": name, "type": kind, "displayName": name, **common, **settings}


def section(columns: int, height: int) -> dict[str, Any]:
    """The section of :func:`chart`."""
    flags = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": "ours", "name": "Sweep", "columns": columns, "cardHeight": height, **flags}


def shoot_all(folder: Path, browser: str) -> None:
    """Every picture of the page."""
    client = Store(f"sqlite:///{folder}/mlruns/mlflow.db").client
    (parent,) = client.search_runs(["1"], "tags.`covidmt.kind` = 'sweep'")
    scores = ["test/pi_score", "test/ols_score/original"]
    columns = [f"metrics.`{key}`" for key in scores] + [f"params.`{key}`" for key in ("backbone", "n_tasks", "seed")]
    table: dict[str, Any] = {
        "selectedColumns": columns,
        "runsExpanded": {parent.info.run_id: True},
    }
    groups = [{"mode": "param", "groupByData": key} for key in ("n_tasks", "backbone")]
    plots = [
        chart("PARALLEL", "parallel", selectedParams=["backbone", "n_tasks"], selectedMetrics=scores, showAllRuns=True),
        chart(
            "SCATTER",
            "scatter",
            xaxis={"key": "n_tasks", "type": "PARAM"},
            yaxis={"key": scores[1], "type": "METRIC"},
        ),
    ]
    pictures = [chart("IMAGE", "pictures", imageKeys=["gradcam/00", "gradcam/01"], step=2)]
    with sync_playwright() as playwright, ui(folder) as address:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1440, "height": 760})
        page.set_default_timeout(180_000)
        view = View(page, address, "1")
        view.open(**table)
        view.widen("test/ols_score/original", 80)
        view.widen("Run Name", 90)
        shoot(page, "ui_runs")
        view.open(**table, groupBy={"aggregateFunction": "average", "groupByKeys": groups})
        view.widen("test/ols_score/original", 80)
        view.widen("Run Name", 140)
        shoot(page, "ui_groups")
        view.open(**table, charts=True, groupBy=None, compareRunCharts=plots, compareRunSections=[section(2, 410)])
        page.locator("svg").get_by_text("backbone", exact=True).first.wait_for()  # the axis of the parallel coordinates
        shoot(page, "ui_charts")
        view.open(**table, charts=True, compareRunCharts=pictures, compareRunSections=[section(1, 430)])
        shoot(page, "ui_pictures")
        page.set_viewport_size({"width": 1120, "height": 900})
        page.goto((folder / "report" / "report.html").as_uri())
        shoot(page, "report")
        chromium.close()


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browser", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--project", type=Path)
    options = parser.parse_args()
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.project or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "report" / "report.html").exists():
            make_project(folder)
        shoot_all(folder, options.browser)


if __name__ == "__main__":
    main()
