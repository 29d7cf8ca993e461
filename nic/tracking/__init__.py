"""Runs, lineage, registry and promotion: the only rooms in nic that import MLflow."""

import os

# Patients' data: MLflow's telemetry stays off unless somebody turns it on. It is read when mlflow is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
