"""What Python has to do for a step of parameters on a GPU, measured without one: a table in Markdown.

    python -m benchmarks.gpu_host

The driver's functions that a step calls return at once here, and torch's tensors are on a GPU that is none
(`tests.ptx`). So what is counted is ours: looking at tensors, filling arguments, ctypes. NOT counted: what
NVIDIA's driver takes of the processor for each launch or copy, whose number is in the table. `step` has
everything else in it, torch's hooks, too; the parts are `Plan.holds` (every address is asked for),
`Plan.gather` (options and counters) and `Plan.move` (from there to the last launch).
"""

import ctypes
from time import perf_counter
from typing import Any

import llvmlite.binding as llvm
import pytest
import torch

import optdsl.torch
from optdsl.runtime.cuda import driver, kernel
from optdsl.runtime.cuda.driver import SIGNATURES
from optdsl.runtime.torch.state import check_group
from tests.ptx import fake_torch
from tests.ptx.fake_driver import FakeDriver

STEPPING = (
    "cuCtxPushCurrent_v2 cuCtxPopCurrent_v2 cuStreamIsCapturing cuLaunchKernel cuMemcpyHtoDAsync_v2 "
    "cuEventRecord cuEventSynchronize cuStreamWaitEvent"
).split()
WORKING = ("cuLaunchKernel", "cuMemcpyHtoDAsync_v2")
ROUNDS = 300
KEPT: list[Any] = []  # optimizers give memory back when Python likes: their drivers have to be there
SETS = {"1 of 1k": [1024], "300 of 1k": [1024] * 300}
SPECS: dict[str, dict[str, Any]] = {"adamw": {}, "adamw, capturable": {"capturable": True}, "lamb": {}}


class QuickDriver(FakeDriver):
    """What a step calls is machine code that does nothing; `count` is what it would have been."""

    def __init__(self) -> None:
        super().__init__(size=1 << 25)
        self._contexts.append(0)
        for each in (llvm.initialize_native_target, llvm.initialize_native_asmprinter):
            each()
        machine = llvm.Target.from_default_triple().create_target_machine()
        module = llvm.parse_assembly("define i32 @ok() { ret i32 0 }")
        self._engine = llvm.create_mcjit_compiler(module, machine)
        self._engine.finalize_object()
        self.counted = {name: getattr(self, name) for name in STEPPING}
        for name in STEPPING:
            made = ctypes.CFUNCTYPE(ctypes.c_int, *SIGNATURES[name])
            setattr(self, name, made(self._engine.get_function_address("ok")))


def measured(spec: str, sizes: list[int], options: dict[str, Any]) -> tuple[list[float], int]:
    """Microseconds, the shortest, of a step and of its parts: whether every address holds, this step's rows,
    and the launches; and how many launches and copies there are.
    """
    with pytest.MonkeyPatch.context() as patch:
        quick = QuickDriver()
        KEPT.append(quick)
        patch.setattr(driver, "_open", lambda: quick)
        for each in (driver.driver, driver.device):
            each.cache_clear()
        kernel._modules.clear()
        gpus = fake_torch.install(quick, patch)
        parameters = []
        for size in sizes:
            p = torch.nn.Parameter(gpus.to(torch.ones(size)))
            p.grad = gpus.to(torch.ones(size))
            parameters.append(p)
        made: Any = optdsl.torch.load(spec)(parameters, **options)
        made.step()
        plan, groups = made._plan, made.param_groups
        read = [check_group(made.layout, group) for group in groups]
        gradients = [p.grad for p in parameters]
        found = [
            shortest(each)
            for each in (
                made.step,
                lambda: plan.holds(read, parameters, made.state, gradients),
                lambda: plan.gather(read, ()),
                lambda: plan.move(1),
            )
        ]
        calls = 0

        def count(*arguments: Any) -> int:
            nonlocal calls
            calls += 1
            return 0

        functions = driver.driver()._functions
        made.step()
        functions |= dict.fromkeys(WORKING, count)
        made.step()
        for each in (driver.driver, driver.device):
            each.cache_clear()
        return found, calls


def shortest(step: Any) -> float:
    found = []
    for _ in range(ROUNDS):
        started = perf_counter()
        step()
        found.append(perf_counter() - started)
    return 1e6 * min(found)


def main() -> None:
    print("| tensors | optimizer | step, us | `holds` | `gather` | launching | launches and copies |")
    print("|---|---|---|---|---|---|---|")
    for set_, sizes in SETS.items():
        for spec, options in SPECS.items():
            found, calls = measured(spec.partition(",")[0], sizes, options)
            print(f"| {set_} | {spec} | {' | '.join(f'{each:.1f}' for each in found)} | {calls} |")


if __name__ == "__main__":
    main()
