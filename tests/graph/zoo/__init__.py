"""The zoo: networks as people upload them, small and with random weights, made when a test asks for them."""

from tests.graph.zoo import (
    attention,
    audio,
    keras_style,
    old_spellings,
    tabular,
    timeseries,
    transformers_vision,
    vision_mobile,
    vision_plain,
    vision_residual,
    vision_tokens,
)
from tests.graph.zoo.entry import Handmade, Network

MODULES = (
    vision_plain,
    vision_residual,
    vision_mobile,
    attention,
    vision_tokens,
    transformers_vision,
    audio,
    timeseries,
    tabular,
    keras_style,
    old_spellings,
)
ZOO: list[Network | Handmade] = [network for module in MODULES for network in module.NETWORKS]
