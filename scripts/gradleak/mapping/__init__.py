"""Update ↔ model: which tensor is which variable, sign, scale, optimiser, rank, and what to expect of each attack."""

from gradleak.mapping.assign import assign_tensors
from gradleak.mapping.classifier import Public, logits_model, look_at
from gradleak.mapping.errors import MappingError
from gradleak.mapping.optimizer import find_optimizer
from gradleak.mapping.scale import find_scale
from gradleak.mapping.settle import Mapping, settle
from gradleak.mapping.sign import find_sign, weigh

__all__ = [
    "Mapping",
    "MappingError",
    "Public",
    "assign_tensors",
    "find_optimizer",
    "find_scale",
    "find_sign",
    "logits_model",
    "look_at",
    "settle",
    "weigh",
]
