"""What may be said of finished runs: variances over patients and trainings, differences, AUROC, calibration."""
