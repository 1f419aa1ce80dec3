"""Run one training: here, or in a process for each GPU; record its metrics, and describe the adapter that it made.

The trainer, the command line and the Python API all train through :func:`train`.
"""

import os
from collections.abc import Mapping
from dataclasses import replace

from trainers.policy.launch import launched, processes_of
from trainers.policy.methods import Method
from trainers.policy.scalars import Scalars
from trainers.policy.training import Trained, TrainingInputs
from trainers.policy.training_manifest import write_manifest


def train(method: Method, training: TrainingInputs) -> Trained:
    """Train the adapter ``training.folder/policy``, with a manifest and a model card in it and TensorBoard files beside it.

    Raises
    ------
    DataRefused
        There is too little to train on.
    TrainingError
        The training diverged, or memory is too small.
    ConfigurationError, ModelNotFound
        A setting or a model is wrong.
    """
    if os.environ.get("RANK", "0") != "0":  # one of several processes that somebody else started: the first one records
        return method.train(training)
    processes = processes_of(training.settings)
    training.folder.mkdir(parents=True, exist_ok=True)
    with Scalars(training.folder / "tensorboard") as scalars:

        def progress(step: int, steps: int, metrics: Mapping[str, float]) -> None:
            scalars.write(step, metrics)
            training.progress(step, steps, metrics)

        recorded = replace(training, progress=progress)
        trained = launched(method.name, recorded, processes) if processes > 1 else method.train(recorded)
    write_manifest(method.name, training, trained)
    return trained
