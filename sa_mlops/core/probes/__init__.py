"""Recovery probes: attempts to make a generator draw a class that it has forgotten.

`PROBES` lists the probes that search latents and conditions; `interface.run` runs one. Relearning changes weights
(`relearning.relearn`) and feature probing draws no images (`features.probe_features`); both have results of their own.
"""

from __future__ import annotations

from types import MappingProxyType

from sa_mlops.core.probes.gradient import Gradient
from sa_mlops.core.probes.gradient_free import EvolutionStrategy, RandomSearch
from sa_mlops.core.probes.interface import Budget, Probe
from sa_mlops.core.probes.pixel import PixelMatch
from sa_mlops.core.probes.random_latents import RandomLatents
from sa_mlops.core.probes.reconstruction import Reconstruction
from sa_mlops.core.probes.walks import Walk

PROBES: MappingProxyType[str, Probe] = MappingProxyType(
    {
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
    }
)
"""Name -> probe; the name in metrics (`attack.NAME.success`), on the command line and in figures."""
