"""Recovery probes: attempts to make a generator draw a class that it has forgotten.

`PROBES` lists the probes that search latents and conditions; `interface.run` runs one. `weights` edits weights,
`relearning.relearn` trains them on images of the class, and `features.probe_features` draws no images; these have
results of their own. Probes use the encoder of the generator under attack; `reconstruction_lent` borrows the base's.
"""

from __future__ import annotations

from types import MappingProxyType

from sa_mlops.core.probes.gradient import Gradient
from sa_mlops.core.probes.gradient_free import EvolutionStrategy, RandomSearch
from sa_mlops.core.probes.interface import Budget, Probe
from sa_mlops.core.probes.label_arithmetic import LabelArithmetic
from sa_mlops.core.probes.pixel import PixelMatch
from sa_mlops.core.probes.random_latents import RandomLatents
from sa_mlops.core.probes.reconstruction import OwnEncoder, Reconstruction
from sa_mlops.core.probes.walks import Walk

PROBES: MappingProxyType[str, Probe] = MappingProxyType(
    {
        "direct": RandomLatents(scales=(1.0,)),
        "weak_condition": RandomLatents(scales=(0.1,)),
        "condition_sweep": RandomLatents(scales=(0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)),
        "reconstruction": Reconstruction(),
        "latent_walk": Walk(beyond=False, deceptive=True),
        "double_walk": Walk(beyond=False, deceptive=False),
        "triangular_walk": Walk(beyond=True, deceptive=False),
        "optimise_z": Gradient(moves="z"),
        "optimise_condition": Gradient(moves="condition"),
        "joint": Gradient(),
        "alternating": Gradient(moves="alternating"),
        "joint_from_neighbour": Gradient(start="neighbour"),
        "joint_plain": Gradient(attacker="plain"),
        "optimise_z_bounded": Gradient(moves="z", bounded=True),
        "joint_bounded": Gradient(bounded=True),
        "alternating_bounded": Gradient(moves="alternating", bounded=True),
        "joint_slow": Gradient(budget=Budget(steps=1_000, lr=0.03)),
        "transfer": Gradient(start="solutions"),
        "pixel_match": PixelMatch(start="prior"),
        "pixel_match_encoder": PixelMatch(start="encoder"),
        "joint_unbounded": Gradient(softmax=False),
        "joint_expectation": Gradient(views=4, budget=Budget(steps=300, lr=0.1)),
        "random_search": RandomSearch(),
        "evolution": EvolutionStrategy(),
        "optimise_z_retained": Gradient(moves="z", start="retained", softmax=False),
        "own_encoder": OwnEncoder(),
        "label_arithmetic": LabelArithmetic(),
        "reconstruction_lent": Reconstruction(lent=True),
    }
)
"""Name -> probe; the name in metrics (`attack.NAME.success`), on the command line and in figures."""

WITH_BASE = ("transfer", "reconstruction_lent")
"""Probes of an attacker who also has the base (level A6)."""


def level(name: str) -> str:
    """The adversary's level of a probe: A0 asks for the label, A1 chooses latent and condition, A6 has the base."""
    return "A0" if name == "direct" else "A6" if name in WITH_BASE else "A1"
