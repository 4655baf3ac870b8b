"""What is installed: a wheel, built straight and by way of an sdist, used where there is no checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEFT_OUT = {".git", ".venv", "build", "dist", "tests", "benchmarks", "examples", "docs"}


def run(*command: object, cwd: Path, **environment: str) -> str:
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same project as two wheels: built from the tree, and from its own sdist.

    They are built from a copy, since setuptools keeps a `build/` and would pack what is left in it.
    """
    folder = tmp_path_factory.mktemp("packaging")
    tree = folder / "tree"
    ignored = shutil.ignore_patterns(*LEFT_OUT, "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, tree, ignore=ignored)
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir")
    run(*build, folder / "straight", "--wheel", tree, cwd=folder)
    run(*build, folder / "sdist", tree, cwd=folder)  # the sdist first, then a wheel from it
    return {name: next((folder / name).glob("*.whl")) for name in ("straight", "sdist")}


def expected_files() -> set[str]:
    """Every module, spec and grammar of the checkout under its installed name."""
    found = set()
    for folder, name in (
        ("optdsl", "optdsl"),
        *((f, f"optdsl/{f}") for f in ("backends", "grammar", "specs")),
    ):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".lark", ".opt", ".typed"):
                found.add(f"{name}/{path.relative_to(ROOT / folder).as_posix()}")
    return found


@pytest.mark.parametrize("how", ["straight", "sdist"])
def test_the_wheel_holds_everything_and_nothing_else(wheels: dict[str, Path], how: str) -> None:
    with zipfile.ZipFile(wheels[how]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        entry_points = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
        assert "optdsl = optdsl.cli:main" in wheel.read(entry_points).decode()
    assert names == expected_files()


USE = """
import sys, importlib.resources, pathlib
import optdsl, optdsl.backends
home = pathlib.Path(optdsl.__file__).parent
assert home.is_relative_to(sys.argv[1]), home
assert pathlib.Path(optdsl.backends.__file__).parent == home / "backends"
from optdsl.cli import main
assert main(["check", "--strict", "-q", *sys.argv[2].split()]) == 0
assert main(["compile", "adam", "--for", "numpy", "-o", "adam.py"]) == 0
sys.path.insert(0, ".")
import numpy as np
from adam import Adam
theta = np.ones(5, np.float32)
Adam([theta], lr=0.5).step([np.ones(5, np.float32)])
print("theta", *theta.tolist())
"""


@pytest.mark.parametrize("how", ["straight", "sdist"])
def test_an_installed_wheel_works_without_a_checkout(
    wheels: dict[str, Path], how: str, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    pip = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-index",
    )
    run(*pip, "--target", site, wheels[how], cwd=tmp_path)
    specs = " ".join(sorted(path.stem for path in (ROOT / "specs").rglob("*.opt")))
    # PYTHONPATH goes before the editable install of this very project.
    printed = run(sys.executable, "-c", USE, site, specs, cwd=tmp_path, PYTHONPATH=str(site))
    # Whatever the gradient, Adam's first step is lr times its sign, but for eps.
    assert printed.splitlines()[-1] == "theta 0.5 0.5 0.5 0.5 0.5"
