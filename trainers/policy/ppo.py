"""Train a challenger by proximal policy optimisation of a LoRA adapter.

One step (Schulman et al. 2017, arXiv:1707.06347; for language models Ziegler et al. 2019, arXiv:1909.08593):

1. sample a reply to each prompt of a batch with the current policy, at temperature T;
2. score each reply with the reward, and scale the scores to unit deviation;
3. give each token the reward r_t = -beta (log pi_old(a_t|s_t) - log pi_ref(a_t|s_t)), and the score at the end token;
4. estimate advantages with the critic (generalised advantage estimation, Schulman et al. 2016, arXiv:1506.02438);
5. for a few epochs, in minibatches, maximise the clipped surrogate min(rho A, clip(rho, 1 - eps, 1 + eps) A) with
   rho = pi(a_t|s_t) / pi_old(a_t|s_t), and fit the critic to the returns.

Details follow Huang et al. 2024, arXiv:2403.17031. The reference is the base model, with the adapter disabled; the critic reads the
base's last hidden states, which the pass over the reference computes anyway, so that there is one copy of the weights and no second trunk.
All tensors of replies are right-aligned, shape ``(replies, tokens)`` with a mask: every reply ends in the last column.
"""

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from storage.errors import DataRefused, Diverged, TrainingError
from storage.events import Message
from trainers.features.embedder import Embedder
from trainers.features.settings import FeatureSettings
from trainers.models.policy import Policy, load_policy
from trainers.models.scoring import forward_parameters
from trainers.policy.adapters import ADAPTER, merged, write_adapter
from trainers.policy.governor import Governor
from trainers.policy.ppo_settings import PPOSettings
from trainers.policy.preflight import preflight
from trainers.policy.reply_samples import ReplySampler
from trainers.policy.reward_sources import RewardFunction, reward_function
from trainers.policy.rollouts import Rollout, sample_rollouts
from trainers.policy.second_reward import SecondReward, split
from trainers.policy.training import Progress, Trained, TrainingInputs
from trainers.policy.training_state import last_state, load_state, save_state

LEAST_WATCHED = 8  # prompts for the governor


# ---- the equations ----


def token_rewards(scores: Tensor, log_ratio: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    """r_t of step 3, ``(n, t)``: -beta times the log-ratio of old policy to reference (the estimator k1 of the KL); the score at the end.

    ``scores`` is ``(n,)``; ``log_ratio`` and ``mask`` are ``(n, t)``.
    """
    rewards = -coefficient * log_ratio * mask
    rewards[:, -1] += scores
    return rewards


def gae(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> Tensor:
    """Advantages, ``(n, t)``: A_t = delta_t + gamma lambda A_{t+1}, where delta_t = r_t + gamma V_{t+1} - V_t.

    Beyond the last column V = A = 0. arXiv:1506.02438, equations 11, 12 and 16. The recursion runs from right to left, so padding on the
    left does not enter.
    """
    advantages = torch.zeros_like(rewards)
    following_value = following = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * following_value - values[:, t]
        following = delta + gamma * lam * following
        advantages[:, t], following_value = following, values[:, t]
    return advantages


def surrogate(ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """The clipped objective to maximise, elementwise: arXiv:1707.06347, equation 7."""
    return torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Half the larger squared error of the value and of the value clipped to within ``clip`` of the old one, elementwise."""
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)


def k3(log_ratio: Tensor) -> Tensor:
    """An estimator of KL(p || q) from samples of p that is never negative: e^-x - 1 + x, where x = log p - log q. A metric only."""
    return torch.expm1(-log_ratio) + log_ratio


@dataclass
class KLController:
    """The coefficient beta; with a target it adapts: beta <- beta (1 + clip(KL / target - 1, -.2, .2) n / horizon)."""

    coefficient: float
    target: float | None
    horizon: int

    def update(self, kl: float, replies: int) -> None:
        """After a step of ``replies`` replies with a mean of ``kl`` nats per reply."""
        if self.target is not None:
            self.coefficient *= 1 + min(max(kl / self.target - 1, -0.2), 0.2) * replies / self.horizon


@dataclass
class RunningMoments:
    """Mean and variance of all values so far (Chan, Golub and LeVeque 1983)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared deviations from the mean

    def update(self, values: Tensor) -> None:
        """Add values, ``(n,)``."""
        n = len(values)
        if n:
            mean, squares = float(values.mean()), float(((values - values.mean()) ** 2).sum())
            delta, total = mean - self.mean, self.count + n
            self.squares += squares + delta * delta * self.count * n / total
            self.mean += delta * n / total
            self.count = total

    @property
    def deviation(self) -> float:
        return math.sqrt(self.squares / self.count) if self.count else 0.0


class Critic(nn.Module):
    """Values from hidden states of the base model, ``(..., width)`` to ``(...)``. It starts at zero everywhere."""

    def __init__(self, width: int, hidden: int = 256) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, states: Tensor) -> Tensor:
        """Values of the states."""
        found: Tensor = self.out(torch.tanh(self.hidden(self.norm(states.float())))).squeeze(-1)
        return found


# ---- the training ----


@dataclass
class Experience:
    """The replies of one step. Tensors are right-aligned, ``(n, t)``; ``states`` is ``(n, t, width)``."""

    rollouts: Sequence[Rollout]
    mask: Tensor
    old: Tensor
    states: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


class PPO:
    """The state of a training: adapter, critic, optimiser, coefficient of the KL penalty and moments of the reward."""

    def __init__(self, policy: Policy, settings: PPOSettings) -> None:
        from peft import get_peft_model
        from transformers import set_seed

        set_seed(settings.seed)  # the adapter's and the critic's initial weights, equal in all processes
        self.settings = settings
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.peft = get_peft_model(policy.model, settings.lora())
        self.policy = Policy(self.peft.get_base_model(), policy.tokenizer, policy.name)  # with the adapter's layers in place
        self.device = next(self.peft.parameters()).device
        _prepare_for_training(self.policy.model, settings.gradient_checkpointing)
        output = self.policy.model.get_output_embeddings()
        self.critic = Critic(output.weight.shape[1]).to(self.device)
        output.register_forward_pre_hook(self._keep_states)
        self._states: Tensor | None = None
        self._accepted = forward_parameters(self.policy)
        self.adapter = [parameter for parameter in self.peft.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": self.adapter, "lr": settings.learning_rate},
                {"params": list(self.critic.parameters()), "lr": settings.critic_learning_rate},
            ],
            eps=1e-5,
            weight_decay=0.0,
        )
        self.number = 0  # of the step that is being taken
        self.kl = KLController(settings.kl_coefficient, settings.kl_target, settings.kl_horizon)
        self.moments = RunningMoments()
        half = output.weight.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)  # small gradients would vanish in fp16

    def step(self, number: int, prompts: Sequence[Sequence[Message]], reward: RewardFunction) -> dict[str, float]:
        """Sample, score and update; return the step's metrics.

        Raises
        ------
        TrainingError
            The reward or the loss is not a finite number, or the GPU's memory is too small for ``micro_batch``.
        """
        self.number = number + 1
        rollouts = self.sample(number, prompts)
        metrics: dict[str, float] = {}
        try:
            experience, metrics = self.experience(rollouts, reward)
            metrics |= self.update(number, experience)
        except torch.OutOfMemoryError:
            pass  # handled below: here the failed pass's tensors are still held
        if "value_loss" not in metrics:
            raise TrainingError(self._too_large(rollouts))
        self.kl.update(metrics["kl"], len(prompts) * self.accelerator.num_processes)
        return metrics

    def sample(self, number: int, prompts: Sequence[Sequence[Message]], *, shared: bool = True) -> list[Rollout]:
        """One reply to each prompt; ``shared`` if the other processes have the rest of the batch, and not the same prompts."""
        settings, processes = self.settings, self.accelerator.num_processes
        numbers = range(self.accelerator.process_index, processes * len(prompts), processes) if shared else range(len(prompts))
        with merged(self.peft):
            return sample_rollouts(
                self.policy,
                prompts,
                temperature=settings.temperature,
                max_tokens=settings.max_tokens,
                max_length=settings.max_length,
                seed=settings.seed * 1_000_003 + number + 1,
                numbers=numbers,
                batch=len(prompts),
            )

    @torch.no_grad()
    def measure(self, prompts: Sequence[Sequence[Message]]) -> tuple[list[Rollout], float]:
        """A reply to each prompt, with the same random numbers each time, and their mean KL from the reference in nats per reply."""
        rollouts = self.sample(-1, prompts, shared=False)
        divergence = 0.0
        with self.peft.disable_adapter():
            for rows in _micro_batches(rollouts, range(len(rollouts)), self.settings.micro_batch):
                reference, _ = self.forward([rollouts[i] for i in rows])
                for row, i in enumerate(rows):
                    divergence += sum(rollouts[i].log_probabilities) - float(reference[row, -len(rollouts[i].reply_ids) :].sum())
        return rollouts, divergence / len(rollouts)

    @torch.no_grad()
    def experience(self, rollouts: Sequence[Rollout], reward: RewardFunction) -> tuple[Experience, dict[str, float]]:
        """Score the replies and estimate advantages."""
        settings = self.settings
        length = max(len(rollout.reply_ids) for rollout in rollouts)
        shape = (len(rollouts), length)
        mask = torch.zeros(shape, dtype=torch.bool, device=self.device)
        old, reference = torch.zeros(shape, device=self.device), torch.zeros(shape, device=self.device)
        for row, rollout in enumerate(rollouts):
            columns = slice(length - len(rollout.reply_ids), length)
            mask[row, columns] = True
            old[row, columns] = torch.tensor(rollout.log_probabilities, device=self.device)
        states: Tensor | None = None
        with self.peft.disable_adapter():
            for rows in _micro_batches(rollouts, range(len(rollouts)), settings.micro_batch):
                log_probabilities, found = self.forward([rollouts[i] for i in rows])
                width = log_probabilities.shape[1]
                reference[rows, length - width :] = log_probabilities
                states = states if states is not None else found.new_zeros(*shape, found.shape[-1])
                states[rows, length - width :] = found
        assert states is not None
        if not bool(reference[mask].isfinite().all()):
            raise Diverged("the base model gives no finite numbers; check its weights, or load it in another number format")
        values = self.critic(states) * mask
        raw, finished = self._scores(rollouts, reward)
        self.moments.update(self.accelerator.gather(raw)[self.accelerator.gather(finished)])  # in all processes
        log_ratio = (old - reference) * mask
        rewards = token_rewards(self._scaled(raw, finished), log_ratio, mask, self.kl.coefficient)
        advantages = gae(rewards, values, settings.gamma, settings.gae_lambda)
        returns = advantages + values
        total = self._sum(torch.stack([mask.sum(), mask.new_tensor(len(rollouts), dtype=torch.long), finished.sum()]).double())
        count, replies, ended = total.tolist()
        residual = self._variance((returns - values), mask, count)
        metrics = {
            "reward": self._mean(raw * finished, ended),
            "kl": self._mean(log_ratio, replies),
            "kl_token": self._mean(log_ratio, count),
            "k3": self._mean(k3(log_ratio) * mask, replies),
            "entropy": -self._mean(old * mask, count),
            "length": count / replies,
            "finished": ended / replies,
            "kl_coefficient": self.kl.coefficient,
            "explained_variance": 1 - residual / max(self._variance(returns, mask, count), 1e-12),
        }
        mean = self._mean(advantages * mask, count)
        deviation = math.sqrt(self._variance(advantages, mask, count))
        advantages = (advantages - mean) / (deviation + 1e-8) * mask  # whitened over the tokens of the whole batch, in all processes
        return Experience(rollouts, mask, old, states, values, advantages, returns), metrics

    def update(self, number: int, experience: Experience) -> dict[str, float]:
        """The passes of one step over its replies: first the policy's, then the critic's, which need no pass through the model."""
        settings = self.settings
        share = 1 - number / settings.steps
        for group, rate in zip(self.optimizer.param_groups, (settings.learning_rate, settings.critic_learning_rate), strict=True):
            group["lr"] = rate * share
        policy = [
            self._update_policy(experience, rows)
            for rows in self._minibatches(number, experience, settings.epochs if number >= settings.critic_warmup else 0)
        ]
        critic = [self._update_critic(experience, rows) for rows in self._minibatches(number, experience, settings.critic_epochs)]
        return {
            "policy_loss": float(np.mean([loss for loss, _, _ in policy])) if policy else 0.0,
            "clipped": float(np.mean([clipped for _, clipped, _ in policy])) if policy else 0.0,
            "first_ratio": policy[0][2] if policy else 0.0,
            "value_loss": float(np.mean(critic)),
        }

    def _minibatches(self, number: int, experience: Experience, epochs: int) -> Iterator[list[int]]:
        """Rows of this process, in a new order each epoch."""
        size = max(1, self.settings.minibatch // self.accelerator.num_processes)
        for epoch in range(epochs):
            order = np.random.default_rng((self.settings.seed, number, epoch)).permutation(len(experience.rollouts)).tolist()
            yield from (order[start : start + size] for start in range(0, len(order), size))

    def _update_policy(self, experience: Experience, rows: Sequence[int]) -> tuple[float, float, float]:
        """One update of the adapter: its loss per token, the share of tokens beyond the clip, and the largest |ratio - 1|."""
        count = float(self._sum(experience.mask[rows].sum().double()))
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        drift = 0.0
        self.optimizer.zero_grad(set_to_none=True)
        for micro in _micro_batches(experience.rollouts, rows, self.settings.micro_batch):  # gradients are accumulated
            log_probabilities, _ = self.forward([experience.rollouts[i] for i in micro])
            width = log_probabilities.shape[1]
            mask, old, advantages = (each[micro, -width:] for each in (experience.mask, experience.old, experience.advantages))
            ratio = ((log_probabilities - old) * mask).exp()
            loss = -(surrogate(ratio, advantages, self.settings.clip) * mask).sum()
            self.scaler.scale(loss / count).backward()  # type: ignore[no-untyped-call]
            beyond = ((ratio.detach() - 1).abs() > self.settings.clip) & mask
            sums += torch.stack([loss.detach(), beyond.sum()])
            drift = max(drift, float((ratio.detach() - 1).abs().max()))
        loss_per_token, clipped = self._apply_gradients(self.adapter, sums / count, "policy", self.scaler)
        return loss_per_token, clipped, drift

    def _update_critic(self, experience: Experience, rows: Sequence[int]) -> float:
        """One update of the critic: its loss per token."""
        mask = experience.mask[rows]
        count = float(self._sum(mask.sum().double()))
        self.optimizer.zero_grad(set_to_none=True)
        values = self.critic(experience.states[rows])
        loss = (value_loss(values, experience.values[rows], experience.returns[rows], self.settings.value_clip) * mask).sum()
        (loss / count).backward()  # type: ignore[no-untyped-call]
        parameters, unscaled = list(self.critic.parameters()), torch.amp.GradScaler(self.device.type, enabled=False)
        (loss_per_token,) = self._apply_gradients(parameters, loss.detach().double()[None] / count, "critic", unscaled)
        return loss_per_token

    def _apply_gradients(self, parameters: Sequence[nn.Parameter], sums: Tensor, name: str, scaler: torch.amp.GradScaler) -> list[float]:
        """Sum the gradients over processes, clip their norm and update; return the sums over processes, the first of which is the loss."""
        found: list[float] = self._sum(sums).tolist()
        self._reduce_gradients(parameters)
        scaler.unscale_(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.settings.max_gradient_norm))
        if not math.isfinite(found[0]) or (math.isnan(norm) and not scaler.is_enabled()):
            rate = f"learning_rate = {self.settings.learning_rate:g} or kl_coefficient = {self.settings.kl_coefficient:g}"
            rate = rate if name == "policy" else f"critic_learning_rate = {self.settings.critic_learning_rate:g}"
            raise Diverged(
                f"the loss of the {name} is {found[0]} at step {self.number} of {self.settings.steps}; no adapter was written: "
                f"lower {rate} in [ppo] and start again"
            )
        scaler.step(self.optimizer)  # leaves out a step whose gradients overflowed in fp16; a disabled scaler just steps
        scaler.update()
        return found

    def _too_large(self, rollouts: Sequence[Rollout]) -> str:
        settings, fits = self.settings, self._micro_batch_that_fits(rollouts)
        words = f"micro_batch = {settings.micro_batch} does not fit into the GPU's memory; "
        if fits:
            return words + f"micro_batch = {fits} in [ppo] does: set it and start again, it goes on from the last checkpoint"
        return words + "nor does 1: lower max_length or max_tokens, or set quantization = '4bit' or device_map = 'auto' in [ppo]"

    def _micro_batch_that_fits(self, rollouts: Sequence[Rollout]) -> int:
        """The largest half, quarter, … of ``micro_batch`` with which the longest replies pass forward and backward; 0 if none does."""
        longest = sorted(rollouts, key=lambda rollout: -len(rollout.prompt_ids) - len(rollout.reply_ids))
        size = self.settings.micro_batch // 2
        while size:
            self.optimizer.zero_grad(set_to_none=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            try:
                self.forward(longest[:size])[0].sum().backward()  # type: ignore[no-untyped-call]
            except torch.OutOfMemoryError:
                size //= 2
            else:
                break
        self.optimizer.zero_grad(set_to_none=True)
        return size

    def forward(self, rollouts: Sequence[Rollout]) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the replies' tokens at the sampling temperature, ``(n, t)``, and the states before them, ``(n, t, width)``.

        Padding columns hold numbers without meaning.
        """
        rows = [[*rollout.prompt_ids, *rollout.reply_ids] for rollout in rollouts]
        replies = max(len(rollout.reply_ids) for rollout in rollouts)
        length = max(map(len, rows))
        pad = self.policy.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (length - len(row)) + row for row in rows], device=self.device)
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        mask = torch.arange(length, device=self.device) >= (length - lengths)[:, None]
        arguments = {"position_ids": (mask.long().cumsum(1) - 1).clamp(min=0), "logits_to_keep": replies + 1, "use_cache": False}
        logits = self.policy.model(
            input_ids=ids, attention_mask=mask.long(), **{k: v for k, v in arguments.items() if k in self._accepted}
        ).logits
        assert self._states is not None
        states, self._states = self._states[:, -replies - 1 : -1], None
        logits = logits[:, -replies - 1 : -1].float() / self.settings.temperature
        chosen = logits.gather(-1, ids[:, -replies:, None]).squeeze(-1) - logits.logsumexp(-1)
        return chosen, states.detach()

    def _keep_states(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._states = inputs[0]

    def _scores(self, rollouts: Sequence[Rollout], reward: RewardFunction) -> tuple[Tensor, Tensor]:
        """The rewards of the replies, ``(n,)``, and which have one: truncated and empty ones have none."""
        scored = [i for i, rollout in enumerate(rollouts) if rollout.finished and rollout.text]
        returned = reward([(rollouts[i].prompt, rollouts[i].text) for i in scored]) if scored else ()
        try:
            found = np.asarray(returned, float)
        except (TypeError, ValueError):
            found = np.full(1, np.nan)
        if found.shape != (len(scored),) or not np.isfinite(found).all():
            raise TrainingError(f"the reward has to return {len(scored)} finite numbers for {len(scored)} replies, not {returned!r:.100}")
        raw = torch.zeros(len(rollouts), device=self.device)
        finished = torch.zeros(len(rollouts), dtype=torch.bool, device=self.device)
        raw[scored], finished[scored] = torch.tensor(found, dtype=torch.float32, device=self.device), True
        return raw, finished

    def _scaled(self, raw: Tensor, finished: Tensor) -> Tensor:
        scores = raw
        if self.settings.scale_rewards:
            limit = self.settings.score_clip
            scores = ((raw - self.moments.mean) / max(self.moments.deviation, 1e-6)).clamp(-limit, limit)
        return torch.where(finished, scores, -self.settings.truncation_penalty)

    def _sum(self, values: Tensor) -> Tensor:
        found: Tensor = self.accelerator.reduce(values, "sum")
        return found

    def _mean(self, values: Tensor, count: float) -> float:
        return float(self._sum(values.sum().double())) / max(count, 1.0)

    def _variance(self, values: Tensor, mask: Tensor, count: float) -> float:
        mean = self._mean(values * mask, count)
        return self._mean((values - mean) ** 2 * mask, count)

    def _reduce_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        if self.accelerator.num_processes == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = self._sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter).clone()


def train_on_judgments(training: TrainingInputs) -> Trained:
    """The training method: PPO against a reward fitted to the run's judgments, watched by a second one fitted to those held out for it.

    Raises
    ------
    ConfigurationError
        A source of ``[ppo.rewards]`` does not exist.
    DataRefused
        There are too few judgments or prompts, or a reward model has not passed its checks.
    """
    settings: PPOSettings = training.settings
    preflight(training.base, settings, training.folder, settings.max_tokens)
    halves = split(training.preferences) if settings.governor_every else None
    fitted_to = halves.first if halves is not None else training.preferences
    threads = torch.get_num_threads()
    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():  # the others read what it has fitted
        reward = reward_function(settings.rewards, fitted_to, training.ratings, training.sections, training.folder / "rewards")
    embedder = Embedder.load(training.sections.section("features", FeatureSettings))
    second = SecondReward.fit(halves.held_out, embedder) if halves is not None else None
    torch.set_num_threads(threads)  # an encoder sets its own
    prompts = [*(each.prompt for each in training.preferences), *(each.prompt for each in training.ratings)]
    return train_ppo(
        training.base, prompts, reward, settings, training.folder, training.progress, second.scores if second is not None else None
    )


def train_ppo(
    base: str,
    prompts: Sequence[tuple[Message, ...]],
    reward: RewardFunction,
    settings: PPOSettings,
    folder: Path,
    progress: Progress,
    second: RewardFunction | None = None,
) -> Trained:
    """Train an adapter on ``base`` and write it to ``folder/policy``; an interrupted training resumes from its last checkpoint.

    Parameters
    ----------
    base : the base model, as accepted by :func:`trainers.models.references.resolve_model`; also the reference
    prompts : what the policy replies to; repeated ones are used once an epoch
    reward : maps (prompt, reply) pairs to numbers, the higher the better
    folder : for this training only; its checkpoints are removed at the end
    progress : called with step, steps and the metrics of :meth:`PPO.step`
    second : a reward that is not optimised; the policy at its peak is returned, and the training stops when it has fallen

    Raises
    ------
    DataRefused
        There are fewer distinct prompts than ``settings.least_prompts``.
    ModelNotFound
        ``base`` does not exist.
    TrainingError
        The reward or the loss is not a finite number.
    """
    distinct = list(dict.fromkeys(map(tuple, prompts)))
    aside = min(settings.governor_prompts, len(distinct) // 4) if settings.governor_every else 0
    aside = aside if aside >= LEAST_WATCHED else 0
    order = np.random.default_rng(settings.seed).permutation(len(distinct))
    watched, trained_on = [distinct[i] for i in order[:aside]], [distinct[i] for i in order[aside:]]
    if len(trained_on) < settings.least_prompts:
        raise DataRefused(f"{len(trained_on)} distinct prompts are too few to train on; at least {settings.least_prompts} are needed")
    preflight(base, settings, folder, settings.max_tokens)
    governor = None
    if aside:
        checks = 1 + settings.steps // settings.governor_every
        governor = Governor(watched, reward, second, checks, settings.governor_alpha)
    trainer = PPO(load_policy(base, quantization=settings.quantization, device_map=settings.device_map), settings)
    kept, best = folder / "checkpoints", folder / "best"
    sampler = ReplySampler(trained_on, settings.shown_prompts, folder)
    state = last_state(kept)
    start = load_state(state, trainer, governor) if state is not None else 0
    every = max(1, math.ceil(settings.steps / settings.checkpoints))
    metrics: dict[str, float] = {}
    stopped = _watch(governor, trainer, 0, base, best) if start == 0 else None
    if start == 0 and trainer.accelerator.is_main_process:
        sampler.sample(0, trainer.policy)
    number = start
    for number, batch in enumerate(_batches(trained_on, settings, trainer.accelerator), 1):
        if number <= start:
            continue
        try:
            metrics = trainer.step(number - 1, batch, reward)
        except Diverged:
            shutil.rmtree(kept, ignore_errors=True)  # of a training that was going wrong
            raise
        if governor is not None and number % settings.governor_every == 0:
            stopped = _watch(governor, trainer, number, base, best)
            metrics |= _measured(governor)
        if trainer.accelerator.is_main_process:
            if number % every == 0 or stopped is not None or number == settings.steps:
                sampler.sample(number, trainer.policy)
            if number % every == 0:
                save_state(kept, trainer, governor, number)
            progress(number, settings.steps, metrics)
        if stopped is not None:
            break
    adapter = folder / ADAPTER
    if trainer.accelerator.is_main_process:
        if governor is None or governor.second is None:
            write_adapter(trainer.peft, base, adapter)
        else:
            shutil.rmtree(adapter, ignore_errors=True)
            best.rename(adapter)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.rmtree(best, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return Trained(adapter, len(trained_on), number, metrics, curve=governor.curve if governor is not None else (), stopped=stopped)


def _measured(governor: Governor) -> dict[str, float]:
    """The rewards of the last check, for progress; of the main process only."""
    if not governor.points:
        return {}
    point = governor.points[-1]
    return {"proxy": point.proxy} | ({"second": point.second} if point.second is not None else {})


def _watch(governor: Governor | None, trainer: PPO, number: int, base: str, best: Path) -> str | None:
    """Check the policy after ``number`` steps and keep it if it is the best; return why the training has to stop, or None."""
    if governor is None:
        return None
    stop: list[str | None] = [None]
    if trainer.accelerator.is_main_process:
        rollouts, kl = trainer.measure(governor.prompts)
        check = governor.check(number, rollouts, kl)
        if check.best and governor.second is not None:
            write_adapter(trainer.peft, base, best)
        stop = [check.stop]
    broadcast_object_list(stop)
    return stop[0]


def _batches(prompts: Sequence[tuple[Message, ...]], settings: PPOSettings, accelerator: Any) -> Iterator[list[tuple[Message, ...]]]:
    """This process's prompts of each step: all prompts in a new order each epoch."""
    size = settings.batch // accelerator.num_processes
    taken: list[int] = []
    epoch = 0
    for _ in range(settings.steps):
        while len(taken) < settings.batch:
            taken += np.random.default_rng((settings.seed, epoch)).permutation(len(prompts)).tolist()
            epoch += 1
        step, taken = taken[: settings.batch], taken[settings.batch :]
        yield [prompts[i] for i in step[accelerator.process_index :: accelerator.num_processes][:size]]


def _micro_batches(rollouts: Sequence[Rollout], rows: Sequence[int], size: int) -> Iterator[list[int]]:
    """The rows in groups of similar length."""
    order = sorted(rows, key=lambda i: len(rollouts[i].prompt_ids) + len(rollouts[i].reply_ids))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _prepare_for_training(model: Any, checkpointing: bool | None) -> None:
    """Turn dropout off: with it, the ratio of new to old policy would differ from 1 before any update."""
    model.eval()
    if torch.cuda.is_available() if checkpointing is None else checkpointing:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(getattr(module, "attention_dropout", None), float):
                module.attention_dropout = 0.0
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()  # transformers checkpoints in training mode only
