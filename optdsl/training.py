"""What training code has to do for an optimizer besides `opt.step()`: the lines that explain and show print.

In: a meaning. Out: one line of text for each thing that a step is given, and for each view of the parameters;
none for most specs. Decides nothing.
"""

from collections.abc import Iterator

from optdsl.language import maths
from optdsl.language.inputs import FIRST_GRADIENT, asked_for, input_of
from optdsl.language.optimizer import Optimizer
from optdsl.language.unparse import as_syntax


def training_code(optimizer: Optimizer) -> Iterator[str]:
    """What is passed to `step`, and how to get at what is to be evaluated."""
    if optimizer.query is not None:
        where = maths.show(as_syntax(optimizer.query), maths.UNICODE)
        twice = f"at {maths.UNICODE.name('theta', 't-1')} and " if FIRST_GRADIENT in optimizer.inputs else ""
        yield f"opt.step(closure): computes the loss and its gradient, {twice}at {where}"
    for name in asked_for(optimizer.inputs):
        also = "; torch takes a closure's, too" if name == "loss" else ""
        yield f"opt.step(..., {name}={name}): {input_of(name).what}{also}"
    for output in optimizer.outputs:
        shown = maths.show(as_syntax(output.value), maths.UNICODE)
        yield f'with opt.view("{output.name}"): the parameters are {shown}'
    if optimizer.outputs:
        yield f"opt.eval(): they are {optimizer.outputs[0].name} until opt.train(), before the next step"
