"""What all tests share: a check that optdsl is installed, and expected outputs kept as files."""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Without an install there is an `optdsl`, the folder, but no `optdsl.backends`: pyproject.toml maps it.
if find_spec("optdsl.backends") is None:
    pytest.exit("optdsl is not installed: run `pip install -e .` first, or `make test`", returncode=4)


# On CI the same examples every time: a red build is then the change's doing. Everywhere else, new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the expected outputs anew instead of comparing"
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether expected outputs are to be written rather than compared."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture
def golden(update_golden: bool) -> Callable[[Path, str], None]:
    """`golden(path, text)`: the file says just this text; with --update-golden, it does from now on."""

    def compare(path: Path, text: str) -> None:
        if update_golden:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        assert path.exists(), f"{path} is missing: write it with `make golden`, and look at it"
        assert text == path.read_text(encoding="utf-8"), f"{path}: `make golden` accepts the new text"

    return compare


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two fake GPUs that torch believes in: `tests.ptx.fake_torch.FakeGpus`."""
    from tests.support.gpus import fake_gpus

    yield from fake_gpus(monkeypatch)
