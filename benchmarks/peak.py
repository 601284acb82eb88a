"""`python peak.py FILE COMMAND...`: run a command and write its wall seconds and peak memory to FILE.

A process of its own, and a small one: Linux counts a new process's peak from the memory of the one that starts it.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    start = time.perf_counter()
    status = subprocess.call(sys.argv[2:])
    seconds = time.perf_counter() - start
    size = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    mib = size / (2**20 if sys.platform == "darwin" else 2**10)
    Path(sys.argv[1]).write_text(json.dumps({"seconds": seconds, "peak_mib": mib}))
    sys.exit(status)
