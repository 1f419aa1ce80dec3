"""The environment of LiteLLM's proxy: made once, apart from ours, as the one of TRL in ``benchmarks.policy``.

From 1.109 on the proxy needs versions of its extra packages that the registry does not have.
"""

from pathlib import Path

from benchmarks.environments import environment

PACKAGES = ("litellm[proxy]<1.109",)
CONFIG = """\
model_list:
  - model_name: instant
    litellm_params:
      model: openai/instant
      api_base: {url}
      api_key: none
litellm_settings:
  telemetry: false
"""
SURROUNDINGS = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # prices from its own file
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # it listens on 127.0.0.1, and checks no key, as we check none
}


def litellm_command(config: Path) -> list[str]:
    """The proxy's command line; installs it if it is not there yet, which takes minutes."""
    python = environment("litellm", PACKAGES)
    return [str(python.parent / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", "{port}", "--num_workers", "1"]
