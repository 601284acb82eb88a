"""Keys of the random-number streams: each, with the seed, determines every draw of one piece of work.

They are the arguments of `core.runtime.make_generator` after the seed. Changing one changes results.
"""

from __future__ import annotations

Labels = tuple[int, ...]
Key = tuple[object, ...]


def base(left_out: Labels) -> Key:
    """Training from scratch without some classes."""
    return "base", left_out


def fisher(labels: Labels) -> Key:
    """A Fisher diagonal over the classes `labels`."""
    return "fim", labels


def forget(forget: Labels, earlier: Labels) -> Key:
    """One step of forgetting, after earlier ones."""
    return "forget", forget, earlier


def phase(name: str, forgotten: Labels) -> Key:
    """A phase after forgetting, `distil` or `harden`, of a generator that has forgotten these classes."""
    return name, forgotten
