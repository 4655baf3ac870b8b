"""The base class of generated optimizers for torch: a `torch.optim.Optimizer` around fused kernels.

A generated class gives `layout` and a constructor. In: parameters, gradients and hyperparameters as they
are at each step. Out: parameters and state, updated in place, under torch's keys, so that checkpoints
move between these classes and torch's own. A step is all or nothing: everything is looked at, and
compiled, before the first write.

Supported: dense tensors on the CPU and on NVIDIA's GPUs, of any strides: float32, float64, complex (as
pairs), float16 and bfloat16 (with float32 state). NOT done: other devices, sparse gradients, gradients
through a step.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, overload

import torch
from torch import Tensor

from optdsl.runtime.hypers import defaults_of, read_options, read_variant
from optdsl.runtime.inputs import arrays, numbers, unread
from optdsl.runtime.layout import FIRST_GRADIENT, Layout, check_dimensions
from optdsl.runtime.thread_pool import chosen_thread_count
from optdsl.runtime.torch.callers import refuse_some_of_all
from optdsl.runtime.torch.capture import no_warm_up, recording, refuse_query, sources, stays_on_gpu
from optdsl.runtime.torch.graph import InGraph, traced_step
from optdsl.runtime.torch.idle import Made, forget, is_idle, make_state
from optdsl.runtime.torch.load import keep_dtypes, kept, sent_home
from optdsl.runtime.torch.plan import Plan
from optdsl.runtime.torch.query import at_query_point
from optdsl.runtime.torch.scaling import loss_scale
from optdsl.runtime.torch.shards import any_sharded, local_gradient, local_states, model_of
from optdsl.runtime.torch.state import carried_options, check_group, check_loaded_state, check_torch_options
from optdsl.runtime.torch.team import Team
from optdsl.runtime.torch.view import Saved, restore, show
from optdsl.runtime.views import known_view, refuse_while_shown

Closure = Callable[[], Any]


class FusedOptimizer(torch.optim.Optimizer):
    """Steps all parameters with compiled kernels; options are read from the groups at every step.

    Raises `ValueError` for options out of their domain, with torch's words, and `TypeError`,
    `ValueError` or `RuntimeError` for tensors that cannot be updated, before anything is changed.
    Threads: `$OPTDSL_NUM_THREADS`, else `torch.get_num_threads()`; they never change the result.
    """

    layout: ClassVar[Layout]
    _plan: Plan | None = None
    _in_graph: InGraph | None = None  # what compiled steps are told, once there is one
    _made: Made = ()  # state for a distributed checkpoint, as it was made
    _shown: Saved | None = None  # what the parameters are, while they show a view of them
    _recorded: tuple[Plan, ...] = ()  # whose memory CUDA graphs may go on using

    def __init__(self, params: Iterable[Any], options: dict[str, Any]) -> None:
        refuse_some_of_all(self.layout)
        known = {**carried_options(self.layout), "maximize": False, **defaults_of(self.layout)}
        check_torch_options(type(self).__name__, known, options)
        defaults = {**known, **options}
        check_group(self.layout, defaults)
        super().__init__(params, defaults)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Where `torch.amp.GradScaler` looks: whether a step divides by the scale, and leaves out overflows.

        As with torch's own classes, `fused=True` says so. Without it the scaler does both before the step.
        """
        return bool(self.defaults["fused"]) and not self.layout.inputs

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's; options out of their domain are refused, and so are, by those that compute with
        matrices, tensors of other than two dimensions. Then the group is not added.
        """
        super().add_param_group(param_group)
        try:
            group = self.param_groups[-1]
            variant = check_group(self.layout, group).variant
            for p in group["params"]:
                check_dimensions(self.layout.name, variant, p.shape)
        except Exception:
            self.param_groups.pop()
            raise
        self._in_graph = None

    @overload
    def step(self, closure: None = None, *, loss: Any = None, hvp: Any = None) -> None: ...

    @overload
    def step(self, closure: Closure, *, loss: Any = None, hvp: Any = None) -> Any: ...

    def step(self, closure: Closure | None = None, *, loss: Any = None, hvp: Any = None) -> Any:
        """One step. `closure` evaluates the model and returns the loss, which is returned.

        An optimizer that takes its gradient elsewhere than at the parameters calls `closure` there, and
        raises `RuntimeError` if there is none; one that needs two gradients calls it at the parameters
        before, and returns that loss. One that reads the loss gets it as `loss`, a number or a
        tensor of one element, or from the closure. One that reads an estimate of the Hessian's diagonal
        gets it as `hvp`: a tensor for each parameter of all groups, in their order, None where there is
        no gradient; between two estimates, give the last one again.
        """
        if torch.compiler.is_compiling():
            return traced_step(self, closure, loss, hvp)
        return self._step(closure, loss, hvp)

    def _step(self, closure: Closure | None, loss: Any, hvp: Any) -> Any:
        refuse_while_shown(self.layout, self._shown is not None, "no step is taken")
        records = recording(self)
        if not self.state and is_idle():
            self._made = make_state(self)
            return None
        unread(self.layout, {"loss": loss, "hvp": hvp})
        given, shown = {"loss": loss, "hvp": hvp}, None
        inputs = arrays(self.layout, given)
        if closure is None:
            numbers(self.layout, given)
        if any(read_variant(self.layout, group).query for group in self.param_groups):
            if closure is None:
                raise RuntimeError(
                    f"{self.layout.name} takes its gradient at another point than the parameters: "
                    "pass a closure, opt.step(closure), that clears the gradients, computes the loss, "
                    "calls backward() and returns the loss"
                )
            refuse_query(self.layout, self.param_groups)
            found = at_query_point(self, closure, self._threads())
            loss, shown = found.loss, found.shown
            if found.first is not None:
                inputs[FIRST_GRADIENT] = found.first
        elif closure is not None:
            with torch.enable_grad():
                loss = shown = closure()
        if given["loss"] is None:
            given["loss"] = loss
        if (scale := loss_scale(self)) is not None:
            with torch.no_grad():
                self._update(numbers(self.layout, given), inputs, scale, records=records)
        return shown

    def _update(
        self,
        scalars: tuple[float, ...],
        inputs: dict[str, Any],
        scale: float,
        gradients: list[Tensor | None] | None = None,
        *,
        records: bool = False,
    ) -> None:
        if self._plan is not None:
            self._plan.fetch()
        parameters = [p for group in self.param_groups for p in group["params"]]
        given = [p.grad for p in parameters] if gradients is None else gradients
        team = Team.of(parameters)
        threads = self._threads()

        def prepare() -> Plan:
            return self._prepared(parameters, given, scalars, inputs, scale, records=records)

        forget(self.state, self._made)
        self._made = ()
        plan = prepare() if team is None else team.together(prepare)
        if plan is not self._plan:
            plan.commit(self.state)
            self._plan = plan
        if records and plan not in self._recorded:
            self._recorded += (plan,)
        plan.run(threads, None if team is None else team.send)

    def _prepared(
        self,
        parameters: list[Tensor],
        given: list[Tensor | None],
        scalars: tuple[float, ...],
        inputs: dict[str, Any],
        scale: float,
        *,
        records: bool,
    ) -> Plan:
        """The plan for this step, with everything looked at and nothing changed. `records`: for a CUDA graph,
        to which nothing can be new.
        """
        gradients = given
        if any_sharded(given, parameters):
            gradients = [local_gradient(g, p) for g, p in zip(given, parameters, strict=True)]
        options = [check_group(self.layout, group, stays_on_gpu) for group in self.param_groups]
        on_gpu = sources(self.layout, self.param_groups)
        plan = self._plan
        if plan is None or not plan.holds(options, parameters, self.state, gradients):
            if records:
                raise no_warm_up(self)
            self._plan = None
            plan = Plan.build(self.layout, self.param_groups, options, self.state, gradients)
        plan.gather(options, scalars, scale, on_gpu)
        plan.place_inputs(inputs)
        return plan

    def _threads(self) -> int:
        return chosen_thread_count() or torch.get_num_threads()

    @contextmanager
    def view(self, name: str) -> Iterator[None]:
        """`with opt.view("ax"): evaluate()`: another view of the parameters is in them, and they come back.

        Raises `ValueError` for a view that this optimizer has not got. Until the parameters are back, steps
        and whatever saves or loads are refused with `RuntimeError`; what is written to them is lost.
        """
        known_view(self.layout, name)
        refuse_while_shown(self.layout, self._shown is not None, "no other view is shown")
        self._shown = show(self, name, self._threads())
        try:
            yield
        finally:
            self.train()

    def eval(self) -> None:
        """Puts the first view into the parameters, until `train`. Nothing happens where there is no view."""
        if self.layout.views and self._shown is None:
            self._shown = show(self, self.layout.views[0], self._threads())

    def train(self) -> None:
        """Puts the parameters back, bit for bit, if they show a view."""
        saved, self._shown = self._shown, None
        restore(saved or [])

    def state_dict(self) -> dict[str, Any]:
        """As torch's. Raises `RuntimeError` while a view is shown: the model's would be that of the view."""
        refuse_while_shown(self.layout, self._shown is not None, "nothing is saved")
        return super().state_dict()

    def __getstate__(self) -> dict[str, Any]:
        refuse_while_shown(self.layout, self._shown is not None, "nothing is copied")
        return super().__getstate__()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over options and state, also from torch's own class.

        Tensors are copied, so that the optimizer which they came from may go on; the state of float16 and
        bfloat16 parameters is kept in float32. Raises `ValueError` for options that would change the maths
        unseen or state that is not whole; then nothing is loaded.
        """
        refuse_while_shown(self.layout, self._shown is not None, "nothing is loaded")
        last = self.register_load_state_dict_pre_hook(keep_dtypes)
        try:
            super().load_state_dict(state_dict)
        finally:
            last.remove()

    def __setstate__(self, state: dict[str, Any]) -> None:
        defaults = {**carried_options(self.layout), "maximize": False, **defaults_of(self.layout)}
        state = {**state, "state": kept(self.layout, state["state"])}
        for number, group in enumerate(state["param_groups"]):
            for key, value in defaults.items():
                group.setdefault(key, value)
            check_group(self.layout, group)
            self._check_state(state["state"], group, number)
        sent_home(self.layout, state["param_groups"], state["state"])
        super().__setstate__(state)
        self._plan = self._in_graph = None
        self._made = ()

    def _check_state(self, states: Any, group: dict[str, Any], number: int) -> None:
        hypers, variant, _ = read_options(self.layout, group)
        for position, p in enumerate(group["params"]):
            if p in states:
                what = f"parameter {position} of group {number}"
                own = local_states(states[p], p, what)
                chosen = variant.of_rank(p.dim())
                check_loaded_state(chosen, model_of(p, chosen), own, group, hypers, what)
