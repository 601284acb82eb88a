"""Write requirements.txt, requirements-dev.txt, conda.yaml and python_env.yaml from pyproject.toml.

The pins are the versions installed in the environment that runs this, for everything that pyproject.toml's
dependencies need in turn. Run it after changing a dependency or upgrading one; `--check` writes nothing and
fails if a file differs.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Written by scripts/pins.py from pyproject.toml; change that and run it again."
EXTRAS = ("test", "lint", "postgres", "slurm", "sign")
BUILD = ("pip", "setuptools")

# torch pins its CUDA libraries itself, and has none on some platforms.
CUDA = ("cuda-", "nvidia-", "triton")


class PinsError(Exception):
    """The environment cannot give the pins. The message is one line."""


def marker_environment(python: str) -> dict[str, str]:
    """What markers are evaluated against: one platform, so that every machine writes the same files."""
    return {
        "implementation_name": "cpython",
        "implementation_version": python,
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
        "sys_platform": "linux",
    }


def closure(direct: Iterable[str], environment: Mapping[str, str]) -> dict[str, Version]:
    """Canonical name -> installed version of `direct` and all that they need, less torch's CUDA libraries.

    Raises
    ------
    PinsError : if something is not installed, or in a version that a requirement excludes.
    """
    pins: dict[str, Version] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [("pyproject.toml", Requirement(text)) for text in direct]
    while waiting:
        wanted_by, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        new_extras = {extra for extra in ("", *requirement.extras) if (name, extra) not in seen}
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise PinsError(f"{name} is not installed, and {wanted_by} needs it") from None
        version = Version(distribution.version)
        if not requirement.specifier.contains(version, prereleases=True):
            raise PinsError(f"{name} {version} is installed, and {wanted_by} needs {requirement}")
        pins[name] = version
        for text in distribution.requires or ():
            needed = Requirement(text)
            if name == "torch" and canonicalize_name(needed.name).startswith(CUDA):
                continue
            if any(applies(needed, extra, environment) for extra in new_extras):
                waiting.append((name, needed))
        seen |= {(name, extra) for extra in new_extras}
    return pins


def applies(requirement: Requirement, extra: str, environment: Mapping[str, str]) -> bool:
    """Whether a package asked for with `extra` ("" for none) brings `requirement`."""
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})


def pin_lines(pins: Mapping[str, Version], by_machine: Mapping[str, Mapping[str, str]]) -> list[str]:
    """`name==version` in order, with one line a machine for what differs between machines."""
    others = [machine for machine in by_machine if machine != "default"]
    not_others = " and ".join(f'platform_machine != "{machine}"' for machine in others)
    lines = []
    for name, version in sorted(pins.items()):
        if name not in by_machine["default"]:
            lines.append(f"{name}=={version.public}")
            continue
        lines.append(f"{name}=={by_machine['default'][name]} ; {not_others}")
        lines += [f'{name}=={by_machine[m][name]} ; platform_machine == "{m}"' for m in others]
    return lines


def files(project: Mapping[str, Any]) -> dict[str, str]:
    """File name -> content, from a parsed pyproject.toml."""
    settings = project["tool"]["pins"]
    environment = marker_environment(settings["python"])
    runtime = project["project"]["dependencies"]
    extras = project["project"]["optional-dependencies"]
    pins = closure(runtime, environment)
    everything = closure([*runtime, *(line for extra in EXTRAS for line in extras[extra])], environment)
    added = {name: version for name, version in everything.items() if name not in pins}
    build = {"pip": settings["pip"], "setuptools": pins["setuptools"].public}

    def text(*lines: str) -> str:
        return "\n".join((HEADER, *lines)) + "\n"

    return {
        "requirements.txt": text(*pin_lines(pins, settings["torch"])),
        "requirements-dev.txt": text("-r requirements.txt", *pin_lines(added, settings["torch"])),
        "conda.yaml": text(
            f"name: {project['project']['name']}",
            "channels:",
            "  - conda-forge",
            "dependencies:",
            f"  - python={settings['python']}",
            "  - pip",
            "  - pip:",
            "      - -r requirements.txt",
        ),
        "python_env.yaml": text(
            f'python: "{settings["python"]}"',
            "build_dependencies:",
            *(f"  - {name}=={build[name]}" for name in BUILD),
            "dependencies:",
            "  - -r requirements.txt",
        ),
    }


def main() -> int:
    """Write or check the files; 1 if something differs or is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file differs")
    check: bool = parser.parse_args().check
    try:
        wanted = files(tomllib.loads((ROOT / "pyproject.toml").read_text()))
    except PinsError as error:
        print(f"pins: {error}", file=sys.stderr)
        return 1
    stale = [
        name
        for name, text in wanted.items()
        if not (ROOT / name).exists() or (ROOT / name).read_text() != text
    ]
    for name in stale:
        if check:
            print(
                f"pins: {name} is not what pyproject.toml gives here; run: python scripts/pins.py",
                file=sys.stderr,
            )
        else:
            (ROOT / name).write_text(wanted[name])
            print(f"wrote {name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
