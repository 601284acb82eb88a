"""`sa-mlops` that measures with few samples: `python scripts/brief.py forget --dataset digits`.

For tests and campaigns that ask what is kept and registered, not how precisely it was measured. The versions are
measured anew by a command that measures in full.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

SAMPLES = 100


@contextmanager
def shortened() -> Iterator[None]:
    """Within, this process measures with few samples.

    MLflow does not compare a model's pins with what is installed: for that it reads the files of every package.
    """
    from mlflow.utils import environment

    from sa_mlops.core import judging, measuring

    changes: tuple[tuple[object, dict[str, object]], ...] = (
        (measuring, {"SAMPLES": SAMPLES, "MANIFOLD_SAMPLES": 2 * SAMPLES, "MEMBERSHIP_SAMPLES": 2 * SAMPLES}),
        (measuring, {"RESAMPLES": 20, "MEMBERSHIP_RESAMPLES": 20}),
        (measuring.Evaluator.samples, {"__defaults__": (SAMPLES,)}),
        (judging, {"CONTROL_SAMPLES": SAMPLES, "FADED_SAMPLES": SAMPLES}),
        (environment, {"warn_dependency_requirement_mismatches": lambda _: None}),
    )
    with ExitStack() as stack:
        for where, values in changes:
            for name, value in values.items():
                stack.enter_context(patch.object(where, name, value))
        yield


def main(words: Sequence[str]) -> int:
    """The command's exit status."""
    from sa_mlops import cli, environment

    environment.prepare()
    with shortened():
        return cli.main(words)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(sys.argv[1:]))
