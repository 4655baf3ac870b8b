"""Steps inside of `torch.compile`."""

import torch
from torch._dynamo.testing import CompileCounter

from tests.conformance.registry import obligation
from tests.conformance.subjects import Subject, gradients, same, same_state


@obligation
def compiles(s: Subject) -> str | None:
    """`torch.compile` of a step: the same bits, and nothing is compiled again when `lr` or betas change"""
    torch.compiler.reset()
    ps, qs = s.parameters(), s.parameters()
    a, b = s.make(ps, lr=0.02), s.make(qs, lr=0.02)
    counter = CompileCounter()
    compiled = torch.compile(a.step, backend=counter)
    for step in range(5):
        if step >= 2:
            for group in (a.param_groups[0], b.param_groups[0]):
                group["lr"] = 0.02 / step
                if "betas" in group:
                    group["betas"] = tuple(beta * 0.9 for beta in group["betas"])
        gs = gradients(ps, step)
        for p, g in zip(ps, gs, strict=True):
            p.grad = g
        s.take(a, step=compiled)
        s.give(b, [g.clone() for g in gs])
        if step == 1:
            first = counter.frame_count
    same(ps, qs)
    same_state(a, b)
    assert counter.frame_count == first
    if s.layout.inputs or s.needs_closure:
        assert first == 0
        return "it needs more than gradients, so that it is called from the graph and not in it"
    assert first == 1
    return None
