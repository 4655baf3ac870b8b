"""Tables of tensors that are on a GPU: the kernels of the CPU are replaced by those that a GPU runs.

In: a table as `torch.plan` has made it, and the layout, which says what code there is. Out: the same table,
whose kernels are launches on torch's current stream; step counters and scalar states stay on the host. Raises
`TypeError` for rules that have no kernels there, and `CudaError` where there is no GPU to be had.
NOT done: rows, columns and matrices, random numbers, parameters of which other processes hold parts.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from optdsl.runtime.cuda.driver import device as device_of
from optdsl.runtime.cuda.kernel import DeviceCode, DeviceKernel, DeviceTables
from optdsl.runtime.cuda.step import DeviceStep, Numbers
from optdsl.runtime.layout import KernelPair, Layout
from optdsl.runtime.table import Table
from optdsl.runtime.torch.capture import not_capturable


def move_to_device(
    table: Table, layout: Layout, device: torch.device, what: str, *, counted: bool = False
) -> None:
    """`what`: one of the parameters, for messages. `counted`: the table's numbers are on the GPU, and steps
    may be recorded; raises `RuntimeError` for rules whose steps cannot be.
    """
    number = device.index or 0
    reason = _reason(table, layout)
    code = layout.device_code
    if reason or code is None:
        raise TypeError(f"{what} is on {device}, where {layout.name} has no kernel: {reason}; use .cpu()")
    chunks = table.chunks  # and not the table, which would go around in a circle and stay for a while
    tables = DeviceTables(device_of(number), _stream_of(number), lambda: chunks.version)
    count = table.chunks.table.shape[0]
    shape = (table.addresses.shape[0], table.addresses.shape[1])

    def found(pair: KernelPair) -> DeviceCode:
        try:
            return code(pair[1].__name__)
        except NotImplementedError as error:
            words = f"{what} is on {device}, where {layout.name} has no kernel: {error}; use .cpu()"
            raise TypeError(words) from None

    def there(pair: KernelPair) -> KernelPair:
        return pair[0], DeviceKernel(found(pair), tables, shape, count)

    passes = [each.pair for each in table.reductions if each.pair is not None]
    table.views = {name: there(pair) for name, pair in table.views.items()}
    table.chunks.together = True
    if counted and (reason := _not_to_record(table, layout)):
        raise not_capturable(layout, reason)
    if counted or (passes and _stays_there(table)):
        codes = [found(pair) for pair in (*passes, table.pair)]
        numbers = Numbers(table.numbers_at, table.widths, table.sizes == 0) if counted else None
        table.device_step = DeviceStep(codes, tables, table.chunks, table.groups, numbers)
        return
    table.pair = there(table.pair)
    table.reductions = tuple(
        replace(each, pair=there(each.pair)) if each.pair else each for each in table.reductions
    )


def _stream_of(number: int) -> Callable[[], int]:
    """torch's current stream of a device, at each call; without an object around it, where torch has that."""
    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    if raw is None:
        return lambda: int(torch.cuda.current_stream(number).cuda_stream)
    return lambda: int(raw(number))


def _stays_there(table: Table) -> bool:
    """Whether nothing of a step has to come back: neither sums over all tensors nor scalar states."""
    return not table.variant.scalar_states and not _sums_over_all(table)


def _sums_over_all(table: Table) -> bool:
    return any(total.over_all for each in table.reductions for total in each.totals)


def _not_to_record(table: Table, layout: Layout) -> str:
    """Why no CUDA graph can record a step; nothing if one can."""
    if _sums_over_all(table):
        return "sums over all parameters come back to the host"
    if layout.inputs:
        return f"a step is given {' and '.join(each.name for each in layout.inputs)} by the host"
    return ""


def _reason(table: Table, layout: Layout) -> str:
    """Why there is no kernel; nothing if there may be one."""
    if layout.device_code is None:
        return "the module was compiled without; compile it again with --ptx, or use optdsl.torch.load"
    if table.dims is not None:
        return "it reduces over rows and columns"
    if table.variant.draws:
        return "it draws random numbers"
    if table.ledger is not None:
        return "other processes hold parts of it"
    return ""
