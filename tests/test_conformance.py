"""Every class of the library against what training code expects of a `torch.optim.Optimizer`."""

import pytest

from tests.conformance.__main__ import PAGE
from tests.conformance.everything import OBLIGATIONS, TOPICS, Subject, subjects

# Dynamo takes half a second for each class: here one of each kind, on the page all.
COMPILED = {"Adam", "SGD", "LAMB", "CAME", "Prodigy", "Momo", "Nesterov"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("subject", subjects(), ids=str)
def test_conformance(subject: Subject, topic: str) -> None:
    """One test for each topic, so that there are not as many tests as marks in the matrix."""
    if topic == "compiled" and subject.name not in COMPILED:
        return
    for each in OBLIGATIONS:
        if each.topic == topic:
            try:
                each.check(subject)
            except Exception as error:
                error.add_note(f"{subject}: {each.name}: {each.what}")
                raise


def test_the_page_has_every_class_and_obligation() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [f"| {number} | {each.what} |" in text for number, each in enumerate(OBLIGATIONS, 1)] == [
        True for _ in OBLIGATIONS
    ], "python -m tests.conformance writes it anew"
    assert all(f"\n| {subject} | " in text for subject in subjects())
    assert "FAIL" not in text
