"""The machine's load, measured by MLflow's monitors."""

import time

import pytest

from covidmt.tracking.system_metrics import SystemMetrics


def test_samples_until_it_is_stopped_and_a_full_disk_ends_it(caplog: pytest.LogCaptureFixture):
    samples: list[dict[str, float]] = []
    monitor = SystemMetrics(samples.append, interval=0.05)
    monitor.start()
    while len(samples) < 2:
        time.sleep(0.02)
    monitor.stop()
    assert not monitor.is_alive()
    assert "system/cpu_utilization_percentage" in samples[-1]
    assert all(key.startswith("system/") for key in samples[-1])

    def refuse(values: dict[str, float]) -> None:
        raise OSError("no space left on device")

    monitor = SystemMetrics(refuse, interval=0.05)
    monitor.start()
    monitor.join(timeout=60)
    assert not monitor.is_alive()
    assert "no longer logged: no space left on device" in caplog.text
