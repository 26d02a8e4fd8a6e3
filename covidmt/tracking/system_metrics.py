"""Load of the machine, measured by MLflow's own monitors, written where every metric goes."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class SystemMetrics(threading.Thread):
    """Samples CPU, memory, disk, network and GPUs until stopped (MLflow's monitor thread calls the server itself).

    Args:
        write: Takes ``{"system/...": value}``.
        interval: Seconds between samples; None: ``MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL``, else 10.
    """

    def __init__(self, write: Callable[[dict[str, float]], None], interval: float | None = None):
        super().__init__(name="system-metrics", daemon=True)
        self._write = write
        self._interval = interval or float(os.environ.get("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL") or 10)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Sample until `stop`."""
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        with contextlib.suppress(Exception):  # MLflow's own way to say: no NVIDIA GPU, or no library to ask it
            monitors.append(GPUMonitor())

        monitors[0].collect_metrics()  # processor load is measured since the last call
        monitors[0].clear_metrics()
        while not self._stopping.wait(self._interval):
            values: dict[str, float] = {}
            for monitor in monitors:
                monitor.collect_metrics()
                values |= monitor.aggregate_metrics()
                monitor.clear_metrics()

            try:
                self._write({f"system/{key}": value for key, value in values.items()})
            except OSError as error:  # a full disk, say, which ends the training with its own message
                log.warning("The machine's load is no longer logged: %s", error)
                return

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self.join(timeout=5)
