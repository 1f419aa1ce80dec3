"""Trains the demo's language model on demonstrations before it chats: a general model knows nothing of this recruiting world.

The demonstrations are written by ``python -m simulation``, and the training is ``feedbackloop train --phase sft``, as anybody would run it.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.demo_plans import DemoPlan
from deploy.supervisor import COMMAND
from storage.errors import FeedbackLoopError


def starting_model(plan: DemoPlan, seed: int, folder: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> str:
    """The model that the demo begins with: the plan's, or the adapter of its training on demonstrations.

    Parameters
    ----------
    folder : where the adapter is kept; a later demo of the same seed and settings takes it from there
    environment : environment variables for the training

    Raises
    ------
    FeedbackLoopError
        The training failed; what it says is on the terminal.
    """
    if not plan.demonstrations:
        return plan.model
    inputs = json.dumps([plan.model, seed, plan.demonstrations, dict(plan.sections.get("sft", {}))], sort_keys=True)
    out = folder / f"{plan.model}-sft-{hashlib.sha256(inputs.encode()).hexdigest()[:12]}"
    adapter = out / "policy"
    if adapter.is_dir():
        say(f"trained on {plan.demonstrations} demonstrations before: {adapter}")
        return str(adapter)
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = out / "demonstrations.jsonl"
    say(f"training {plan.model} on demonstrations first (SFT)")
    _run([sys.executable, "-P", "-m", "simulation", "demonstrations", f"--seed={seed}", f"--count={plan.demonstrations}", f"--out={file}"])
    _run([*COMMAND, "train", "--phase=sft", f"--data={file}", f"--model={plan.model}", f"--out={out}"], environment)
    return str(adapter)


def _run(command: list[str], environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, env=os.environ | dict(environment or {}), check=False)
    if done.returncode:
        raise FeedbackLoopError(f"the training on demonstrations ended with exit code {done.returncode}; its reason is above")
