"""What an experiment may say about where a run is tracked."""

from __future__ import annotations

from dataclasses import dataclass, field

# OmegaConf reads the annotations at run time and knows typing's own generics.
from typing import Dict, Optional


@dataclass
class Tracking:
    """MLflow.

    Attributes:
        enabled: ``false``, for debugging or with loggers of your own alone (``trainer.logger``): nothing goes to
            MLflow. Checkpoints, resuming and the closing table stay; comparing, reports and sweeps need MLflow.
        uri: Tracking URI; null: the environment's MLFLOW_TRACKING_URI, else the project's own sqlite store.
        log_checkpoint: Upload the best checkpoint as an artifact, and log its network as an MLflow model.
        register: Name in MLflow's model registry under which the network gets a version; the best version, by the
            metric that chooses the best epoch, has the alias ``best``. null: it is not registered.
    """

    enabled: bool = True
    uri: Optional[str] = None
    experiment: str = "covidmt"
    run_name: Optional[str] = None
    tags: Dict[str, str] = field(default_factory=dict)
    system_metrics: bool = True
    log_checkpoint: bool = True
    register: Optional[str] = None
