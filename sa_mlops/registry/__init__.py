"""What goes into MLflow and comes out of it.

Importing this package switches telemetry off before MLflow is imported.
"""

import os

from sa_mlops import environment

for _name, _value in environment.OFF.items():
    os.environ.setdefault(_name, _value)
# Links to runs and models are no results; standard output belongs to those.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# The version's own requirements are given; nothing has to be guessed by importing it elsewhere.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
