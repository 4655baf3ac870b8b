"""What `benchmarks/cpu.py --all` holds every spec against moves as many bytes as the spec does."""

import pytest

from benchmarks.cpu import as_many_bytes, comparable
from optdsl import driver
from optdsl.cost import cost
from optdsl.diagnostics import Source
from optdsl.files import library_names
from tests.support import programs


@pytest.mark.parametrize("name", library_names())
def test_same_bytes(name: str) -> None:
    spec = cost(programs.meaning(name), {})
    if programs.meaning(name).inputs or not comparable(spec):
        return  # not in the table
    twin = cost(driver.front(Source("twin.opt", as_many_bytes(spec)))[0], {})
    assert [each.bytes_moved for each in twin.passes] == [each.bytes_moved for each in spec.passes]
