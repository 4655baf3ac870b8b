"""docs/parity.md says what the tests compare; the numbers in it are those of the machine that wrote it."""

import re

from tests import parity


def test_the_page_lists_every_comparison() -> None:
    page = parity.PAGE.read_text(encoding="utf-8")
    table = page[page.index("| spec") :]
    number = re.compile(r"\| \de[-+]\d\d \|")
    assert number.sub("| - |", table) == number.sub("| - |", parity.written(parity.cases())), (
        "write it anew: `python -m tests.parity`"
    )
