"""Random registries: `audit` finds the versions that brute force finds, from the facts and not from their tags."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from sa_mlops.operate.audit import search
from sa_mlops.registry import names
from sa_mlops.registry.inventory import Inventory
from sa_mlops.registry.version import Version

LETTERS, SIGNS = ("p", "q", "r"), ("a", "b")


@dataclass
class Fact:
    """What was done to make a generator, and what became of it."""

    how: str
    data: tuple[str, ...]
    images: set[str] = field(default_factory=set)
    """Classes whose images it was trained on."""
    forgot: set[str] = field(default_factory=set)
    start: int | None = None
    alias: str = ""
    deleted: bool = False
    recorded: bool = True
    """Whether it records its parent."""


def history(draw: random.Random) -> dict[int, Fact]:
    """A registry's history: bases, retrained controls, steps of forgetting, distillations, deletions, moved aliases."""
    facts: dict[int, Fact] = {}
    for number in range(1, draw.randint(2, 30)):
        how = draw.choice(["base", "retrain", "forget", "forget", "forget", "distil", "teach again"])
        if how in ("base", "retrain") or not facts:
            data = draw.choice([LETTERS, LETTERS, SIGNS])
            out = set(draw.sample(data, 1)) if how == "retrain" else set()
            facts[number] = Fact("retrain" if out else "base", data, set(data) - out, out)
        else:
            start = draw.choice(list(facts))
            before = facts[start]
            forgot = set(before.forgot)
            left = [c for c in before.data if c not in forgot]
            if how == "teach again" and forgot:
                again = draw.choice(sorted(forgot))
                facts[number] = Fact("forget", before.data, {again}, forgot - {again}, start)
            else:
                forgot |= set(draw.sample(left, 1)) if len(left) > 1 else set()
                facts[number] = Fact(how if how == "distil" else "forget", before.data, set(), forgot, start)
            facts[number].recorded = draw.random() < 0.95
        facts[number].alias = draw.choice(["", "", f"alias{number}"])
    for fact in facts.values():
        fact.deleted = draw.random() < 0.15
    return facts


def recorded(facts: dict[int, Fact]) -> Inventory:
    """The versions that such a history leaves in a registry."""
    made = []
    for number, fact in facts.items():
        if fact.deleted:
            continue
        tags = {
            names.STAGE: "forget" if fact.how == "distil" else fact.how,
            names.CLASSES: ",".join(fact.data),
            names.DATASET: "letters" if fact.data == LETTERS else "signs",
            names.FORGOTTEN: ",".join(sorted(fact.forgot)),
        }
        if fact.start is not None and fact.recorded:
            tags[names.PARENT] = names.version_uri(names.GENERATORS, fact.start)
        made.append(Version(names.GENERATORS, number, tags, (fact.alias,) if fact.alias else ()))
    return Inventory(tuple(made))


def touched(number: int, name: str, facts: dict[int, Fact]) -> bool:
    """Whether images of the class can have reached a generator: its whole way down is looked at.

    A generator that was made from another one without a record, or from one that was deleted, can have been.
    """
    fact = facts[number]
    if name not in fact.data:
        return False
    if name in fact.images or name not in fact.forgot:
        return True
    if fact.start is None:
        return False
    return not fact.recorded or facts[fact.start].deleted or touched(fact.start, name, facts)


@pytest.mark.parametrize("seed", range(100))
def test_no_tainted_version_is_missed_and_no_other_is_listed(seed: int) -> None:
    facts = history(random.Random(seed))
    held = recorded(facts)
    for name in sorted({c for v in held.versions for c in v.classes}):
        found = search(held, [name], None).document["generators"]
        listed = {g["version"]: g["aliases"] for g in found}
        expected = {n for n, fact in facts.items() if not fact.deleted and touched(n, name, facts)}
        assert set(listed) == expected
        assert all(listed[n] == ([facts[n].alias] if facts[n].alias else []) for n in listed)
