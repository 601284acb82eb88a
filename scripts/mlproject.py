"""Write `MLproject` and the README's parameter table from the configs of the entry points.

`--check` only says whether they are up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from sa_mlops.config import ENTRY_POINTS, EntryPoint
from sa_mlops.parameters import Parameter

ROOT = Path(__file__).resolve().parent.parent
PATH = ROOT / "MLproject"
README = ROOT / "README.md"
HEADER = "# Written by scripts/mlproject.py from sa_mlops/config.py. Do not edit.\n"
MAIN = "forget"
TYPES = {"int": "float", "float": "float"}


def mlflow_type(parameter: Parameter) -> str:
    """MLflow knows numbers and strings; a number that may also be `auto` travels as a string."""
    return (
        TYPES.get(parameter.kind, "string")
        if parameter.default is not None and parameter.kind == "float"
        else "string"
    )


def entry(point: EntryPoint) -> dict[str, object]:
    """One entry of `entry_points`."""
    parameters = point.config.parameters()
    options = "".join(f" --{name.replace('_', '-')} {{{name}}}" for name in parameters)
    return {
        "parameters": {
            name: {
                "type": mlflow_type(p),
                "default": p.default if mlflow_type(p) == "float" else p.spell(p.default),
            }
            for name, p in parameters.items()
        },
        "command": f"python -m sa_mlops {point.name}{options}",
    }


def text() -> str:
    """The file's content."""
    points = {"main": entry(ENTRY_POINTS[MAIN])} | {
        name: entry(point) for name, point in ENTRY_POINTS.items()
    }
    document = {"name": "sa-mlops", "python_env": "python_env.yaml", "entry_points": points}
    return HEADER + yaml.safe_dump(document, sort_keys=False, width=1000)


def parameter_table() -> str:
    """The README's table: every parameter once, with the entry points that take it."""
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for name, point in ENTRY_POINTS.items():
        for key, p in point.config.parameters().items():
            default = p.spell(p.default) or "(none)"
            rows.setdefault((key, p.help, p.allowed, default), []).append(name)
    lines = ["| parameter | meaning | allowed | default | entry points |", "|---|---|---|---|---|"]
    for (key, text, allowed, default), users in rows.items():
        where = "all" if len(users) == len(ENTRY_POINTS) else ", ".join(users)
        lines.append(f"| `{key}` | {text} | {allowed} | `{default}` | {where} |")
    return "\n".join(lines)


def entry_table() -> str:
    """The README's table of entry points."""
    rows = [f"| `{name}` | {point.help} |" for name, point in ENTRY_POINTS.items()]
    return "\n".join(["| entry point | what it does |", "|---|---|", *rows])


def filled(readme: str) -> str:
    """README with its generated blocks written anew."""
    for mark, block in (("entry points", entry_table()), ("parameters", parameter_table())):
        start, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
        head, _, rest = readme.partition(start)
        _, _, tail = rest.partition(end)
        readme = f"{head}{start}\n{block}\n{end}{tail}"
    return readme


def main() -> int:
    """Write or check."""
    wanted = {PATH: text(), README: filled(README.read_text(encoding="utf-8"))}
    stale = [
        path for path, content in wanted.items() if not path.is_file() or path.read_text("utf-8") != content
    ]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(
                f"{path.name} is not what sa_mlops/config.py gives; run {Path(__file__).name}",
                file=sys.stderr,
            )
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
