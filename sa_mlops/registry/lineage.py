"""The ancestors of a version, from MLflow. Without torch."""

from __future__ import annotations

from mlflow.tracking import MlflowClient

from sa_mlops.registry import names, versions
from sa_mlops.registry.version import Version, ancestry
from sa_mlops.settings import fingerprint


def chain(client: MlflowClient, version: Version) -> list[Version]:
    """From the root to `version`."""

    def find(number: int) -> Version | None:
        try:
            return versions.get(client, names.GENERATORS, number)
        except versions.VersionError:
            return None

    return ancestry(version, find)


def forgotten_last(client: MlflowClient, version: Version) -> str | None:
    """Name of the class that was forgotten last; None if it has forgotten none.

    Older stores do not record it: then it is a class that the parent had not forgotten.
    """
    recorded = version.tags.get(names.FORGOTTEN_LAST, "")
    if recorded in version.forgotten:
        return recorded
    before = [v.forgotten for v in chain(client, version)[-2:-1]]
    new = [c for c in version.forgotten if before and c not in before[0]]
    found = new or version.forgotten
    return found[-1] if found else None


def base_of(client: MlflowClient, version: Version) -> Version | None:
    """The base that a generator descends from, itself if it is one.

    A retrained version has no parent: its base is that of its recipe, seed and data, else the newest of its seed and
    data.
    """
    root = chain(client, version)[0]
    if root.stage == "retrain":
        keys = {k: root.tags.get(k, "") for k in (names.DATASET, names.DATA_MD5, names.SEED)}
        keys[names.STAGE] = "base"
        everything = {**root.settings, "labels": list(range(len(root.classes)))}
        twin = {**keys, names.CONFIG: fingerprint("base", everything)}
        return versions.find(client, names.GENERATORS, twin) or versions.find(client, names.GENERATORS, keys)
    return root if root.stage == "base" else None
