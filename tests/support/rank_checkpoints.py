"""What several processes save, and as many or others load."""

from pathlib import Path
from typing import Any

import torch
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)

from tests.support.rank_tools import STEPS, Context, case, load, model, same, sharded, train, whole


def saved(folder: Path, world: int) -> Path:
    return folder / f"checkpoint-{world}"


@case
def checkpoints_move_between_numbers_of_processes(context: Context) -> None:
    """Saved by 2 processes, loaded by 2, by 3 and by one without a process group."""
    network = sharded(context.mesh())
    optimizer = load("lamb")(network.parameters(), lr=0.01)
    if context.world == 2:
        train(network, optimizer, STEPS)
        own, state = get_state_dict(network, optimizer)
        checkpoint.save(  # type: ignore[attr-defined]
            {"model": own, "optimizer": state}, checkpoint_id=saved(context.folder, 2)
        )
    resumed = sharded(context.mesh())
    again = load("lamb")(resumed.parameters(), lr=0.5)
    resume(resumed, again, saved(context.folder, 2))
    train(resumed, again, 2, seed=4)
    if context.world == 2:
        train(network, optimizer, 2, seed=4)
        for p, q in zip(network.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(whole(p), whole(q))
        torch.save([whole(p) for p in network.parameters()], context.folder / "trained.pt")
    for p, q in zip(resumed.parameters(), torch.load(context.folder / "trained.pt"), strict=True):
        torch.testing.assert_close(whole(p), q, rtol=1e-5, atol=1e-6)


@case
def the_state_of_one_process_is_cut(context: Context) -> None:
    single, network = model(), sharded(context.mesh())
    peer, optimizer = load("lamb")(single.parameters(), lr=0.01), load("lamb")(network.parameters())
    train(single, peer, STEPS)
    content = get_optimizer_state_dict(single, peer)
    set_optimizer_state_dict(network, optimizer, content, options=StateDictOptions(full_state_dict=True))
    for p, q in zip(network.parameters(), single.parameters(), strict=True):
        for key in ("step", "exp_avg", "exp_avg_sq"):
            same(whole(optimizer.state[p][key]), peer.state[q][key], exact=True)


def resume(network: torch.nn.Module, optimizer: Any, folder: Path) -> None:
    before = [whole(p).clone() for p in network.parameters()]
    own, state = get_state_dict(network, optimizer)
    assert all(torch.equal(whole(p), x) for p, x in zip(network.parameters(), before, strict=True))
    content: dict[str, Any] = {"model": own, "optimizer": state}
    checkpoint.load(  # type: ignore[attr-defined]
        content, checkpoint_id=folder
    )
    set_state_dict(network, optimizer, model_state_dict=own, optim_state_dict=content["optimizer"])
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert {float(state["step"]) for state in optimizer.state.values()} == {float(STEPS)}
