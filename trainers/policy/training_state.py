"""Checkpoints of a PPO training: adapter, critic, optimiser, controllers and governor, as safetensors and JSON.

They lie between steps, when no replies are kept; sampling and order are functions of seed and step, so there is no random state to save.
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from trainers.policy.governor import Governor
    from trainers.policy.ppo import PPO

KEPT = 2  # checkpoints
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save_state(folder: Path, trainer: "PPO", governor: "Governor | None", steps: int) -> None:
    """Save the state after ``steps`` steps; the folder appears when it is complete."""
    if not trainer.accelerator.is_main_process:
        return
    folder.mkdir(parents=True, exist_ok=True)
    partial, final = folder / f"step-{steps}.part", folder / f"step-{steps}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    tensors = {f"adapter.{i}": parameter.detach() for i, parameter in enumerate(trainer.adapter)}
    tensors |= {f"critic.{name}": tensor for name, tensor in trainer.critic.state_dict().items()}
    for i, parameter in enumerate(_parameters(trainer)):
        state = trainer.optimizer.state.get(parameter, {})
        tensors |= {f"optimizer.{i}.{name}": torch.as_tensor(state[name]) for name in _MOMENTS if name in state}
    save_file({name: tensor.contiguous().cpu().clone() for name, tensor in tensors.items()}, partial / "tensors.safetensors")
    about: dict[str, Any] = {"steps": steps, "kl_coefficient": trainer.kl.coefficient, "moments": vars(trainer.moments)}
    about["scaler"] = trainer.scaler.state_dict()
    if governor is not None:
        about["governor"] = governor.state()
    (partial / "state.json").write_bytes(orjson.dumps(about))
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in sorted(_complete(folder), key=_steps)[:-KEPT]:
        shutil.rmtree(old)


def last_state(folder: Path) -> Path | None:
    """The newest complete checkpoint."""
    return max(_complete(folder), key=_steps, default=None)


def load_state(path: Path, trainer: "PPO", governor: "Governor | None") -> int:
    """Restore the training; return the number of steps it had taken."""
    tensors = load_file(path / "tensors.safetensors")
    about: dict[str, Any] = json.loads((path / "state.json").read_bytes())
    with torch.no_grad():
        for i, parameter in enumerate(trainer.adapter):
            parameter.copy_(tensors[f"adapter.{i}"])
    trainer.critic.load_state_dict({name.removeprefix("critic."): t for name, t in tensors.items() if name.startswith("critic.")})
    for i, parameter in enumerate(_parameters(trainer)):
        found = {name: tensors[f"optimizer.{i}.{name}"] for name in _MOMENTS if f"optimizer.{i}.{name}" in tensors}
        if found:
            trainer.optimizer.state[parameter] = {n: t if n == "step" else t.to(parameter.device) for n, t in found.items()}
    trainer.kl.coefficient = about["kl_coefficient"]
    trainer.moments = type(trainer.moments)(**about["moments"])
    trainer.scaler.load_state_dict(about["scaler"])
    if governor is not None:
        governor.restore(about["governor"])
    return int(about["steps"])


def _parameters(trainer: "PPO") -> list[torch.nn.Parameter]:
    return [parameter for group in trainer.optimizer.param_groups for parameter in group["params"]]


def _complete(folder: Path) -> list[Path]:
    return [path for path in folder.glob("step-*") if not path.name.endswith(".part")]


def _steps(path: Path) -> int:
    return int(path.name.removeprefix("step-"))
