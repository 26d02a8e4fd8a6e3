"""What MLflow's UI shows of a run: which scores are charts, and what fits a picture's card."""
