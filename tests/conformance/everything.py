"""All obligations, topic by topic: importing a module registers what stands in it."""

from tests.conformance import checkpoints, compiled, construction, registry, steps, tensors, training_code
from tests.conformance.registry import Obligation
from tests.conformance.subjects import Subject, subjects

_ORDER = (construction, steps, tensors, checkpoints, training_code, compiled)
TOPICS = [module.__name__.rpartition(".")[2] for module in _ORDER]
OBLIGATIONS = sorted(registry.OBLIGATIONS, key=lambda each: TOPICS.index(each.topic))

__all__ = ["OBLIGATIONS", "TOPICS", "Obligation", "Subject", "subjects"]
