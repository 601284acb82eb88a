"""`data`: the pinned files. PyTorch and MLflow are not imported for them."""

from __future__ import annotations

from sa_mlops.datasets import pin as data
from sa_mlops.stages.result import Result, table


def report(repair: bool) -> Result:
    """Pull missing files, verify every file against the pin, and list them."""
    root = data.project_root()
    if repair:
        data.pull(data.read_pin(root), repair=True)
    pin, files = data.ensure(root)
    rows = [[f"{pin.path.name}/{f.name}", str((pin.path / f.name).stat().st_size), f.md5] for f in files]
    text = (
        table(["file", "bytes", "md5 (verified)"], rows)
        + f"\n\nall {len(files)} files agree with {data.PIN} ({pin.md5})"
    )
    others = data.not_pinned(pin, files)
    if others:
        more = f" and {len(others) - 10} more" if len(others) > 10 else ""
        text += f"\nnot pinned, left alone: {', '.join(others[:10])}{more}"
    document = {
        "pin": pin.md5,
        "files": [{"path": path, "bytes": int(size), "md5": md5} for path, size, md5 in rows],
        "not_pinned": others,
        "verified": True,
    }
    return Result(document, text)
