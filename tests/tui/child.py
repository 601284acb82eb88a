"""What the launcher's tests start as `python -m child WORD`: a stand-in for `mlflow run`."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading


def main(word: str) -> int:
    """Print as real runs do, and then end or stay."""
    out = sys.stdout
    out.write(f"=== Running command in run with ID '{'0a' * 16}' ===\n")
    match word:
        case "bars":
            out.write(
                "start\n"
                + "".join(f"\r{n:3d}% |###| \x1b[32m{n}\x1b[0m" for n in range(0, 101, 20))
                + "\nend\n"
            )
        case "fail":
            out.write("trouble\n")
            return 3
        case "stay":
            out.flush()
            threading.Event().wait()
        case "stubborn":
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: None)
            out.flush()
            while True:
                signal.pause()
        case "outer":
            # As `mlflow run` does: the work is done by a child, `python -m sa_mlops`.
            with subprocess.Popen([sys.executable, "-m", "sa_mlops", "work"]) as inner:
                return inner.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
