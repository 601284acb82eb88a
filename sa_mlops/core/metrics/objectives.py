"""Two scalars that a tuner trades against each other: what is left of a class, how well the rest is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sa_mlops.core.metrics.scores import ClassScores
from sa_mlops.settings import CLASSES

CHANCE = 1 / CLASSES
MAX_ENTROPY = math.log(CLASSES)


def forgetting_gap(forgotten: Sequence[ClassScores]) -> float:
    """Distance of the judge's answers from "I cannot tell", in [0, 2]; 0 is forgotten, 2 is a perfect digit.

    Mean over the forgotten classes c of

        max(0, p_c - 0.1) / 0.9  +  (ln 10 - H_c) / ln 10

    with p_c the mean probability of c and H_c the mean entropy in nats. Both terms lie in [0, 1]: the first
    asks that the class is no likelier than chance, the second that nothing else is drawn in its place.

    Raises
    ------
    ValueError : without any class.
    """
    if not forgotten:
        raise ValueError("no forgotten class to score")
    gaps = [
        max(0.0, s.probability - CHANCE) / (1 - CHANCE) + max(0.0, MAX_ENTROPY - s.entropy) / MAX_ENTROPY
        for s in forgotten
    ]
    return sum(gaps) / len(gaps)


def retention(retained: Sequence[ClassScores]) -> float:
    """Half the mean plus half the worst accuracy over the retained classes, in [0, 1].

    The mean alone would let one class be traded away for the other eight.

    Raises
    ------
    ValueError : without any class.
    """
    if not retained:
        raise ValueError("no retained class to score")
    accuracies = [s.accuracy for s in retained]
    return 0.5 * (sum(accuracies) / len(accuracies) + min(accuracies))
