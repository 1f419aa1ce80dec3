"""The settings of PPO training: the section ``[ppo]``."""

from typing import Annotated

from pydantic import Field, model_validator

from trainers.policy.adapters import LoRASettings


class PPOSettings(LoRASettings):
    """Hyperparameters of PPO training. The defaults were tuned on the shipped model.

    Attributes
    ----------
    rewards : what is optimised: weights by source, see :mod:`trainers.policy.reward_sources`
    steps, batch : number of steps, and of replies sampled in each, over all processes
    epochs, minibatch, micro_batch : passes over each step's replies, replies per update, and replies in one forward pass
    learning_rate, critic_learning_rate : at the start; they fall linearly to zero
    kl_coefficient : beta, the price of a nat of divergence from the reference, in standard deviations of the reward
    kl_target, kl_horizon : with a target, in nats per reply, beta adapts (Ziegler et al., section 2.2); None keeps it fixed
    gamma, gae_lambda : discount, and the lambda of advantage estimation. The score comes at the end, so below 1 the first words of a reply
        learn little from it unless the critic foresees it
    clip, value_clip : range of the probability ratio, and of a value's change, before they are clipped
    critic_warmup : steps in which only the critic is trained
    critic_epochs : the critic's passes over each step's replies
    max_gradient_norm : of the policy's gradient and of the critic's
    scale_rewards : scale scores by their running mean and deviation; False takes them as they are
    score_clip : largest absolute scaled score
    truncation_penalty : what a reply gets that did not end within ``max_tokens``, instead of a score
    temperature, max_tokens : of sampling
    max_length : maximum tokens of prompt and reply; a longer prompt loses its oldest turns
    least_prompts : minimum number of distinct prompts to train on
    governor_every, governor_prompts, governor_alpha : steps between checks by :mod:`trainers.policy.governor`, the prompts that are set
        aside for it, and the probability of stopping a training that does not get worse; 0 steps is never
    checkpoints : number of checkpoints per training, from which a killed run resumes
    seed : of sampling, order and initialisation
    gradient_checkpointing : None enables it on a GPU and disables it on a CPU
    """

    rewards: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=lambda: {"head": 1.0, "facts": 3.0}, min_length=1
    )
    steps: Annotated[int, Field(ge=1)] = 32
    batch: Annotated[int, Field(ge=2)] = 64
    epochs: Annotated[int, Field(ge=1)] = 2
    minibatch: Annotated[int, Field(ge=2)] = 32
    micro_batch: Annotated[int, Field(ge=1)] = 8
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    critic_learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    kl_coefficient: Annotated[float, Field(ge=0)] = 0.07
    kl_target: Annotated[float, Field(gt=0)] | None = None
    kl_horizon: Annotated[int, Field(ge=1)] = 10_000
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 1.0
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    value_clip: Annotated[float, Field(gt=0)] = 0.5
    critic_warmup: Annotated[int, Field(ge=0)] = 2
    critic_epochs: Annotated[int, Field(ge=1)] = 8
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    scale_rewards: bool = True
    score_clip: Annotated[float, Field(gt=0)] = 5.0
    truncation_penalty: Annotated[float, Field(ge=0)] = 2.0
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)] = 96
    max_length: Annotated[int, Field(ge=32)] = 1024
    least_prompts: Annotated[int, Field(ge=1)] = 32
    governor_every: Annotated[int, Field(ge=0)] = 4
    governor_prompts: Annotated[int, Field(ge=8)] = 128
    governor_alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    checkpoints: Annotated[int, Field(ge=1)] = 8
    gradient_checkpointing: bool | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _room_for_a_prompt(self) -> "PPOSettings":
        if self.max_tokens >= self.max_length:
            raise ValueError(f"max_tokens = {self.max_tokens} leaves no room for a prompt in max_length = {self.max_length}")
        return self
