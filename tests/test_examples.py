"""The programs in `examples/`, run as they are, with fewer steps.

Those for trainers of others are run where these are installed: `pip install -e ".[integrations]"`.
"""

import importlib.util
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

import optdsl

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["digits_cnn", "jax_mlp"])
def test_digits_are_read(name: str) -> None:
    """A nearest neighbour is right for some 98 % of them; guessing for 10 %."""
    assert example(name).main(steps=150) > 0.94


def test_sonnets_are_learnt_and_a_stopped_run_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    module = example("sonnets_transformer")
    whole, parts = tmp_path / "whole.pt", tmp_path / "parts.pt"
    loss = module.main(steps=16, checkpoint=whole, sample=0)
    module.main(steps=7, checkpoint=parts, sample=0)
    assert module.main(steps=16, checkpoint=parts, sample=3) == loss
    ends = [torch.load(path, weights_only=True) for path in (whole, parts)]
    assert ends[0].keys() == ends[1].keys()
    for one, other in zip(*(leaves(end) for end in ends), strict=True):
        assert torch.equal(one, other)
    letters = Counter(module.TEXT)
    by_frequency = -sum(n * math.log(n / letters.total()) for n in letters.values()) / letters.total()
    assert loss < by_frequency  # it looks at what came before


def leaves(state: Any) -> list[torch.Tensor]:
    if isinstance(state, dict):
        return [leaf for value in state.values() for leaf in leaves(value)]
    if isinstance(state, list | tuple):
        return [leaf for value in state for leaf in leaves(value)]
    return [torch.as_tensor(state)] if not isinstance(state, str | None) else []


@pytest.mark.integrations
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["accelerate_loop", "lightning_module"])
def test_other_peoples_loops(name: str) -> None:
    """Guessing is right for 10 % of the digits."""
    pytest.importorskip(name.partition("_")[0])
    assert example(name).main(steps=20) > 0.4


@pytest.mark.integrations
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_models_of_keras(backend: str) -> None:
    """In processes of their own: Keras takes its backend when it is imported."""
    if importlib.util.find_spec("keras") is None:
        pytest.skip("keras is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, str(EXAMPLES / "keras_model.py")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr
    found = re.fullmatch(rf"{backend}: (0\.\d+) of the digits are read right\n", run.stdout)
    assert found is not None, run.stdout
    assert float(found[1]) > 0.85


@pytest.mark.integrations
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["adamw", "schedule_free_adamw"])
def test_the_trainer_of_transformers(name: str, tmp_path: Path) -> None:
    """As with torch's class, where there is one; and a run that was stopped goes on with the same bits."""
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    module, made = example("hf_trainer"), optdsl.torch.load(name)
    whole = module.trainer(tmp_path / "whole", 20, made, 10, lr=0.01)
    started = whole.evaluate()["eval_loss"]
    whole.train()
    assert whole.evaluate()["eval_loss"] < 0.9 * started
    whole.optimizer.train()
    ends = [list(whole.model.parameters())]

    again = module.trainer(tmp_path / "again", 20, made, 10, lr=0.01)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-10"))
    again.optimizer.train()
    for x, y in zip(ends[0], again.model.parameters(), strict=True):
        assert torch.equal(x, y)
    if name == "adamw":
        peer = module.trainer(tmp_path / "peer", 20, torch.optim.AdamW, 100, lr=0.01)
        peer.train()
        for x, y in zip(ends[0], peer.model.parameters(), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)
    else:
        peer = module.trainer(tmp_path / "peer", 20, made, 10, lr=0.01)
        peer.remove_callback(module.BackToTraining)
        with pytest.raises(RuntimeError, match=r"call opt.train\(\) first"):
            peer.train()


def test_every_example_is_run() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert {path.stem for path in EXAMPLES.glob("*.py") if path.stem not in text} == set()
