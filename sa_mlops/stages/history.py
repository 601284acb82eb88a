"""How a version came about: from which base, by which recipe and by which step, for commands that repeat it."""

from __future__ import annotations

from dataclasses import dataclass

from sa_mlops.methods.interface import StepSettings, named
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import lineage, names, recorded, versions
from sa_mlops.registry.version import Version
from sa_mlops.settings import BaseSettings, FisherSettings
from sa_mlops.stages.context import Context


@dataclass(frozen=True, slots=True)
class History:
    """Settings of the two trainings behind a version that forgot in one step.

    Attributes
    ----------
    recipe : of its base.
    step : of the forgetting.
    sampling : of the Fisher diagonal, if the method has one.
    """

    recipe: BaseSettings
    step: StepSettings
    sampling: FisherSettings | None


def read(ctx: Context, version: Version, word: str) -> History:
    """The history of a version that a user named with `word`.

    Raises ParameterError unless it forgot in one step from a base, by settings that can be repeated.
    """
    root = lineage.base_of(ctx.client, version)
    if (
        version.stage != "forget"
        or root is None
        or version.link(names.PARENT, names.GENERATORS) != root.number
    ):
        raise ParameterError("version", word, "a generator that forgot in one step from a base")
    count = len(version.classes)
    step = recorded.read_step(version.tags.get(names.SETTINGS, ""), count)
    if getattr(step, "surrogate_md5", None) is not None:
        raise ParameterError("version", word, "one made without a folder of images, which is not kept")
    recipe = recorded.read(BaseSettings, root.tags.get(names.SETTINGS, ""), count)
    sampling = None
    if named(step.method).needs.fisher:
        number = version.link(names.FIM, names.FISHERS)
        protection = versions.get(ctx.client, names.FISHERS, number or 0)
        sampling = recorded.read(FisherSettings, protection.tags.get(names.SETTINGS, ""), count)
    return History(recipe, step, sampling)
