"""Write `MLproject` from the configs of the entry points.

`--check` reports whether it is up to date and changes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from sa_mlops.cli import PROJECT
from sa_mlops.config import ENTRY_POINTS, EntryPoint
from sa_mlops.parameters import Parameter, spell_option

ROOT = Path(__file__).resolve().parent.parent
PATH = ROOT / "MLproject"
HEADER = "# Written by scripts/mlproject.py from sa_mlops/config.py. Do not edit.\n"
MAIN = "forget"


def mlflow_type(parameter: Parameter) -> str:
    """MLflow's type: a number that may also be `auto`, and a whole number, travel as strings."""
    return "float" if parameter.kind == "float" and parameter.default is not None else "string"


def entry(point: EntryPoint, word: str = "") -> dict[str, object]:
    """One entry of `entry_points`, started as the command `word`."""
    parameters = point.config.parameters()
    options = "".join(f" {spell_option(name)} {{{name}}}" for name in parameters)
    return {
        "parameters": {
            name: {
                "type": mlflow_type(p),
                "default": p.default if mlflow_type(p) == "float" else p.spell(p.default),
            }
            for name, p in parameters.items()
        },
        "command": f"python -m sa_mlops {word or point.name} --{PROJECT}{options}",
    }


def text() -> str:
    """The file's content."""
    points = {"main": entry(ENTRY_POINTS[MAIN])}
    for name, point in ENTRY_POINTS.items():
        points[name] = entry(point)
        if point.alias:
            points[point.alias] = entry(point, point.alias)
    document = {"name": "sa-mlops", "python_env": "python_env.yaml", "entry_points": points}
    return HEADER + yaml.safe_dump(document, sort_keys=False, width=1000)


def main() -> int:
    """Write or check."""
    wanted = text()
    stale = not PATH.is_file() or PATH.read_text(encoding="utf-8") != wanted
    if "--check" in sys.argv[1:]:
        if stale:
            print("MLproject is out of date; run scripts/mlproject.py", file=sys.stderr)
        return 1 if stale else 0
    PATH.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
