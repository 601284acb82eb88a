"""`python -m sa_mlops` is `sa-mlops`."""

import sys


def main() -> int:
    """The command; one line if this Python lacks a package, as when the environment is not on PATH."""
    try:
        from sa_mlops.cli import main as command

        return command()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(("sa_mlops", "tui")):
            raise
        sys.stderr.write(
            f"sa-mlops: {sys.executable} has no package {error.name!r}; activate the environment of the project, "
            "such as `. .venv/bin/activate`\n"
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
