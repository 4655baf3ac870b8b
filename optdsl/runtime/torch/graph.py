"""A step inside of `torch.compile`: one operator, `torch.ops.optdsl.step`, that the graph sees from outside.

In: an optimizer whose `step` is traced. Out: a call of the operator with every tensor that the step reads or
writes; options are read when it runs, so that no change of `lr` or of the betas compiles anything again.
The first step of an optimizer, and any step that is more than a step (a closure, a loss, a scale), runs
outside of the graph: the graph breaks there, and goes on behind it; with `fullgraph=True`, take one step
before. It breaks, too, where the traced function itself writes to a group before the step, since Dynamo
would do that only behind the graph, and where an option is a tensor.

Assumed: state is replaced by `load_state_dict` or between two compiled functions. NOT done: fusing the step
with other operators, gradients through it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from optdsl.runtime.torch.plan import Plan
from optdsl.runtime.torch.shards import is_sharded
from optdsl.runtime.torch.state import check_group

if TYPE_CHECKING:
    from optdsl.runtime.torch.optimizer import FusedOptimizer

_OPTIMIZERS: "WeakValueDictionary[int, FusedOptimizer]" = WeakValueDictionary()


@dataclass(eq=False)
class InGraph:
    """What a graph is told of an optimizer; `state` goes through the parameters in order.

    `keys` are those of the state of each parameter, `skipped` the parameters without a gradient.
    """

    number: int
    parameters: list[Tensor]
    skipped: list[Tensor]
    state: list[Tensor]
    keys: list[tuple[str, ...]]


def traced_step(optimizer: "FusedOptimizer", closure: Any, loss: Any, hvp: Any) -> Any:
    """`optimizer.step` while Dynamo traces it."""
    torch._dynamo.comptime.comptime(_look)
    told = optimizer._in_graph
    plain = closure is None and loss is None and hvp is None and not optimizer.layout.inputs
    if not plain or told is None or hasattr(optimizer, "found_inf") or optimizer._shown is not None:
        return _outside(optimizer, closure, loss, hvp)
    gradients = [p.grad for p in told.parameters]
    if any(g is None for g in gradients) or any(p.grad is not None for p in told.skipped):
        return _outside(optimizer, closure, loss, hvp)
    outside = torch.is_grad_enabled()
    with torch.no_grad():
        step_op(told.parameters, gradients, told.state, told.number, outside)
    return None


@torch._disable_dynamo  # type: ignore[attr-defined]
def _outside(optimizer: "FusedOptimizer", closure: Any, loss: Any, hvp: Any) -> Any:
    """The step as it is without a compiler; afterwards there is state for a graph to be told of."""
    found = optimizer._step(closure, loss, hvp)
    _tell(optimizer)
    return found


def _tell(optimizer: "FusedOptimizer") -> None:
    """Once a step has been taken, what it wrote to is what a graph writes to."""
    plan = optimizer._plan
    if plan is None or optimizer.layout.inputs or any(map(is_sharded, plan.parameters)):
        return  # sharded parameters are stepped outside: processes talk about it
    if any(p.device.type != "cpu" for p in plan.parameters):
        return  # and so are those on a GPU: the operator is the CPU's
    states = [optimizer.state.get(p, {}) for p in plan.active]
    active = set(map(id, plan.active))
    _OPTIMIZERS[id(optimizer)] = optimizer
    optimizer._in_graph = InGraph(
        number=id(optimizer),
        parameters=plan.active,
        skipped=[p for p in plan.parameters if id(p) not in active],
        state=[x for state in states for x in state.values()],
        keys=[tuple(state) for state in states],
    )


def _look(context: Any) -> None:
    """While tracing: breaks the graph where the options that the operator would read are not yet written."""
    tracing = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
    optimizer = context.get_local("optimizer")._i_will_not_complain_if_bc_breaks_VariableTracker().value
    _tell(optimizer)
    effects = tracing.output.side_effects
    for group in optimizer.param_groups:
        known = effects.id_to_variable.get(id(group))
        if any(isinstance(value, Tensor) for value in group.values()) or (
            known is not None and effects.is_modified(known)
        ):
            context.graph_break("a group was written to before the step")


@torch.library.custom_op("optdsl::step", mutates_args=("parameters", "state"), device_types="cpu")
def step_op(
    parameters: list[Tensor], gradients: list[Tensor], state: list[Tensor], optimizer: int, grad: bool
) -> None:
    """One step of these tensors, in place, with the options that the optimizer of that number has now.

    A graph that ends with an error does not come to where it takes back what `no_grad` did: `grad` is what
    was there before, and is put back here.
    """
    try:
        _step(parameters, gradients, state, optimizer)
    except BaseException:
        torch.set_grad_enabled(grad)
        raise


def _step(parameters: list[Tensor], gradients: list[Tensor], state: list[Tensor], optimizer: int) -> None:
    owner = _OPTIMIZERS.get(optimizer)
    told = None if owner is None else owner._in_graph
    if owner is None or told is None:
        raise RuntimeError("the optimizer of this compiled step is gone; compile the step anew")
    if _at(parameters) == _at(told.parameters) and _at(state) == _at(told.state):
        by_parameter = dict(zip(told.parameters, gradients, strict=True))
        everything = [p for group in owner.param_groups for p in group["params"]]
        owner._update((), {}, 1.0, [by_parameter.get(p) for p in everything])
        return
    _step_of_copies(owner, told, parameters, gradients, state)


@step_op.register_fake
def _(
    parameters: list[Tensor], gradients: list[Tensor], state: list[Tensor], optimizer: int, grad: bool
) -> None:
    return None


def _at(tensors: Sequence[Tensor]) -> list[int]:
    return list(map(Tensor.data_ptr, tensors))


def _step_of_copies(
    owner: "FusedOptimizer",
    told: InGraph,
    parameters: list[Tensor],
    gradients: list[Tensor],
    state: list[Tensor],
) -> None:
    """A compiler may hand over copies, and copy back what has become of them."""
    copies = dict(zip(told.parameters, parameters, strict=True))
    of = dict(zip(told.parameters, gradients, strict=True))
    groups = [
        {**group, "params": [copies[p] for p in group["params"] if p in copies]}
        for group in owner.param_groups
    ]
    numbers = iter(state)
    entries = {
        copy: {key: next(numbers) for key in keys} for copy, keys in zip(parameters, told.keys, strict=True)
    }
    options = [check_group(owner.layout, group) for group in groups]
    given = [of[p] for group in owner.param_groups for p in group["params"] if p in of]
    with torch.no_grad():
        plan = Plan.build(owner.layout, groups, options, entries, given)
        plan.gather(options, ())
        plan.commit(entries)
        plan.run(owner._threads())
