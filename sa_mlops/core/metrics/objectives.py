"""The tuner's two objectives: the forgetting gap and the retention."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sa_mlops.core.metrics.scores import ClassScores


def forgetting_gap(forgotten: Sequence[ClassScores], classes: int) -> float:
    """Distance of the judge's answers from a uniform one, in [0, 2]; 0 is forgotten, 2 is a perfect image of the class.

    Mean over the forgotten classes c of

        max(0, p_c - 1/K) / (1 - 1/K)  +  (ln K - H_c) / ln K

    for K = `classes`, with p_c the mean probability of c and H_c the mean entropy in nats. Both terms lie in [0, 1]:
    the first is 0 if the class is no likelier than chance, the second if no other class is drawn in its place.

    Raises ValueError without any class.
    """
    if not forgotten:
        raise ValueError("no forgotten class to score")
    chance, most = 1 / classes, math.log(classes)
    gaps = [
        max(0.0, s.probability - chance) / (1 - chance) + max(0.0, most - s.entropy) / most for s in forgotten
    ]
    return sum(gaps) / len(gaps)


def retention(retained: Sequence[ClassScores]) -> float:
    """Half the mean plus half the worst accuracy over the retained classes, in [0, 1].

    The mean alone would let one class be traded away for the others.

    Raises ValueError without any class.
    """
    if not retained:
        raise ValueError("no retained class to score")
    accuracies = [s.accuracy for s in retained]
    return 0.5 * (sum(accuracies) / len(accuracies) + min(accuracies))
