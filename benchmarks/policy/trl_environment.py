"""The environment of TRL 1.12, the last version with PPO: made once, apart from ours, whose TRL is newer."""

from importlib.metadata import version
from pathlib import Path

from benchmarks.environments import environment

PACKAGES = ("trl[peft]==1.12.*", "transformers==5.24.*", "accelerate==1.15.*")  # torch is our version


def trl_python() -> Path:
    """The environment's Python; installs it if it is not there yet, which takes minutes.

    Raises
    ------
    subprocess.CalledProcessError
        pip failed; its output says why.
    """
    torch = version("torch").partition("+")[0]
    return environment(f"trl-1.12-torch-{torch}", (f"torch=={torch}", *PACKAGES))
