"""Everything that is written to MLflow and read from it.

Importing this package switches telemetry off before MLflow is imported.
"""

import os

from sa_mlops import environment

for _name, _value in environment.OFF.items():
    os.environ.setdefault(_name, _value)
# Standard output is for results, not for MLflow's links to runs and models.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# No progress bars of artifacts among the progress lines of stages.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
