"""PPO's equations against numbers, and real steps on models small enough for a test."""

import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from benchmarks.policy import bandit
from storage.errors import DataRefused, TrainingError
from storage.events import Message
from trainers.features.embedding import Item
from trainers.models.policy import load_policy
from trainers.policy.ppo import (
    PPO,
    KLController,
    RunningMoments,
    gae,
    k3,
    surrogate,
    token_rewards,
    train_ppo,
    value_loss,
)
from trainers.policy.ppo_settings import PPOSettings
from trainers.policy.rollouts import Rollout, sample_rollouts

pytestmark = pytest.mark.training

FAST = PPOSettings(steps=3, batch=16, minibatch=8, micro_batch=3, epochs=2, max_tokens=12, least_prompts=4, critic_warmup=1, checkpoints=3)


def prompts(n: int) -> list[tuple[Message, ...]]:
    return [(Message(role="user", content="Question " + "x" * i),) for i in range(n)]


def exclamations(items: Sequence[Item]) -> list[float]:
    return [float(len(reply)) for _, reply in items]


def silent(step: int, steps: int, metrics: object) -> None:
    pass


# ---- equations ----


def test_advantages_of_a_short_reply_by_hand() -> None:
    """delta = (1 + .36 - .5, 0 + .27 - .4, 2 - .3); A = delta_t + .72 A_{t+1}."""
    found = gae(torch.tensor([[1.0, 0, 2]]), torch.tensor([[0.5, 0.4, 0.3]]), 0.9, 0.8)
    assert found.tolist()[0] == pytest.approx([1.64768, 1.094, 1.7])


def test_padding_on_the_left_does_not_change_advantages() -> None:
    plain = gae(torch.tensor([[1.0, 0, 2]]), torch.tensor([[0.5, 0.4, 0.3]]), 0.9, 0.8)
    padded = gae(torch.tensor([[0.0, 0, 1, 0, 2]]), torch.tensor([[0.0, 0, 0.5, 0.4, 0.3]]), 0.9, 0.8)
    assert torch.equal(padded[:, 2:], plain)


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "gradient"), [(1.3, 1, 1.2, 0), (1.3, -1, -1.3, -1), (0.7, 1, 0.7, 1), (0.7, -1, -0.8, 0)]
)
def test_the_clipped_surrogate_and_its_gradient(ratio: float, advantage: float, value: float, gradient: float) -> None:
    at = torch.tensor(ratio, requires_grad=True)
    found = surrogate(at, torch.tensor(float(advantage)), 0.2)
    found.backward()  # type: ignore[no-untyped-call]
    assert (found.item(), at.grad.item()) == pytest.approx((value, gradient))  # type: ignore[union-attr]


def test_the_value_loss_takes_the_larger_of_both_errors() -> None:
    """Old value 0, return 1: at .5 the clipped value .2 has the larger error; at -.5 the value itself."""
    found = value_loss(torch.tensor([0.5, -0.5, 0.1]), torch.zeros(3), torch.ones(3), 0.2)
    assert found.tolist() == pytest.approx([0.5 * 0.8**2, 0.5 * 1.5**2, 0.5 * 0.9**2])


def test_k1_and_k3_have_the_divergence_as_their_mean() -> None:
    """KL((.7, .2, .1) || (.5, .25, .25)) = .099273, the mean of k1 and of k3; k1 has variance .1633."""
    p, q = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64), torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    k1 = (p / q).log()
    assert (p * k1).sum().item() == pytest.approx(0.099273, abs=1e-6)
    assert (p * k3(k1)).sum().item() == pytest.approx(0.099273, abs=1e-6)
    assert (p * (k1 - 0.099273) ** 2).sum().item() == pytest.approx(0.1633, abs=1e-4)
    assert (k3(k1) >= 0).all()


def test_each_token_pays_for_its_divergence_and_the_last_gets_the_score() -> None:
    mask = torch.tensor([[True, True, True], [False, True, True]])
    found = token_rewards(torch.tensor([2.0, -1]), torch.tensor([[0.1, -0.2, 0.3], [9.0, 0.5, 0]]), mask, 0.5)
    assert torch.allclose(found, torch.tensor([[-0.05, 0.1, 1.85], [0.0, -0.25, -1.0]]))


def test_the_kl_coefficient_adapts_by_at_most_a_fifth_of_the_share() -> None:
    """arXiv:2403.17031: initial .15, target 6, horizon 10,000, error clipped to .2."""
    controller = KLController(0.15, 6.0, 10_000)
    controller.update(60.0, 512)
    assert controller.coefficient == pytest.approx(0.15 * (1 + 0.2 * 512 / 10_000))
    controller.update(5.4, 512)
    assert controller.coefficient == pytest.approx(0.15 * (1 + 0.2 * 512 / 10_000) * (1 - 0.1 * 512 / 10_000))
    fixed = KLController(0.15, None, 10_000)
    fixed.update(60.0, 512)
    assert fixed.coefficient == 0.15


def test_running_moments_equal_those_of_all_values_at_once() -> None:
    values = torch.tensor(np.random.default_rng(0).normal(3, 2, 100))
    moments = RunningMoments()
    for part in (values[:1], values[1:1], values[1:40], values[40:]):
        moments.update(part)
    assert (moments.mean, moments.deviation) == pytest.approx((values.mean().item(), values.std(correction=0).item()))


# ---- rollouts and forward passes ----


def test_the_sampled_log_probabilities_are_those_of_the_policy(tiny_model: Path) -> None:
    policy = load_policy(str(tiny_model))
    found = sample_rollouts(policy, prompts(6), temperature=1.0, max_tokens=20, seed=1)
    for rollout in found:
        assert len(rollout.reply_ids) == len(rollout.log_probabilities)
        assert rollout.finished == (rollout.reply_ids[-1] in policy.ends)
        ids = torch.tensor([[*rollout.prompt_ids, *rollout.reply_ids]])
        logits = policy.model(ids).logits[0, len(rollout.prompt_ids) - 1 : -1].log_softmax(-1)
        expected = logits.gather(-1, torch.tensor(rollout.reply_ids)[:, None]).flatten()
        assert rollout.log_probabilities == pytest.approx(expected.tolist(), abs=1e-4)


def test_padding_and_batch_mates_change_no_log_probability(tiny_model: Path) -> None:
    trainer = PPO(load_policy(str(tiny_model)), FAST.model_copy(update={"temperature": 0.7}))
    rollouts = sample_rollouts(trainer.policy, prompts(5), temperature=0.7, max_tokens=20, seed=3)
    together, _ = trainer.forward(rollouts)
    for row, rollout in enumerate(rollouts):
        alone, states = trainer.forward([rollout])
        n = len(rollout.reply_ids)
        assert states.shape[:2] == (1, n)
        assert torch.allclose(together[row, -n:], alone[0], atol=1e-5)
        assert alone[0].tolist() == pytest.approx(list(rollout.log_probabilities), abs=1e-4)  # the sampler's, at its temperature


def test_the_first_update_starts_from_a_ratio_of_one_and_an_unmoved_policy_has_no_divergence(tiny_model: Path) -> None:
    trainer = PPO(load_policy(str(tiny_model)), FAST.model_copy(update={"critic_warmup": 0}))
    metrics = trainer.step(0, prompts(16), exclamations)
    assert metrics["first_ratio"] <= 1e-4
    assert metrics["kl"] == pytest.approx(0, abs=1e-4)
    assert metrics["k3"] == pytest.approx(0, abs=1e-4)
    later = trainer.step(1, prompts(16), exclamations)
    assert later["first_ratio"] <= 1e-4
    assert later["k3"] > 1e-6


def test_during_the_critic_s_warmup_the_policy_does_not_move(tiny_model: Path) -> None:
    trainer = PPO(load_policy(str(tiny_model)), FAST)
    before = [parameter.detach().clone() for parameter in trainer.adapter]
    trainer.step(0, prompts(16), exclamations)
    assert all(torch.equal(old, new) for old, new in zip(before, trainer.adapter, strict=True))
    assert any(parameter.abs().sum() > 0 for parameter in trainer.critic.out.parameters())
    trainer.step(1, prompts(16), exclamations)
    assert not all(torch.equal(old, new) for old, new in zip(before, trainer.adapter, strict=True))


def test_truncated_and_empty_replies_get_the_penalty_and_are_not_scored(tiny_model: Path) -> None:
    trainer = PPO(load_policy(str(tiny_model)), FAST)
    rollouts = trainer.sample(0, prompts(16))
    assert {rollout.finished for rollout in rollouts} == {True, False}
    seen: list[str] = []

    def reward(items: Sequence[Item]) -> list[float]:
        seen.extend(reply for _, reply in items)
        return [7.0] * len(items)

    raw, finished = trainer._scores(rollouts, reward)
    assert finished.tolist() == [rollout.finished and bool(rollout.text) for rollout in rollouts]
    assert seen == [rollout.text for rollout in rollouts if rollout.finished and rollout.text]
    trainer.moments.update(torch.tensor([6.0, 8]))
    scaled = trainer._scaled(raw, finished)
    assert set(scaled[~finished].tolist()) == {-FAST.truncation_penalty}
    assert set(scaled[finished].tolist()) == ({0.0} if finished.any() else set())


def test_advantages_are_whitened_over_the_tokens_of_the_whole_batch(tiny_model: Path) -> None:
    trainer = PPO(load_policy(str(tiny_model)), FAST)
    experience, metrics = trainer.experience(trainer.sample(0, prompts(16)), exclamations)
    tokens = experience.advantages[experience.mask]
    assert (tokens.mean().item(), tokens.std(correction=0).item()) == pytest.approx((0, 1), abs=1e-4)
    assert not experience.advantages[~experience.mask].any()
    assert metrics["length"] == pytest.approx(experience.mask.sum().item() / 16)
    assert experience.mask[:, -1].all()  # every reply ends in the last column


def test_a_long_prompt_loses_its_oldest_turns(tiny_model: Path) -> None:
    trainer = PPO(load_policy(str(tiny_model)), FAST.model_copy(update={"max_length": 64}))
    prompt = tuple(Message(role=role, content=f"{n}: " + "x" * 30) for n, role in enumerate(("user", "assistant", "user")))
    (rollout,) = trainer.sample(0, [prompt])
    assert len(rollout.prompt_ids) <= 64 - FAST.max_tokens
    with pytest.raises(ValueError, match="leaves no room for a prompt"):
        PPOSettings(max_tokens=64, max_length=64)


def test_merging_for_sampling_leaves_the_base_weights_as_they_were(tiny_model: Path) -> None:
    trainer = PPO(load_policy(str(tiny_model)), FAST.model_copy(update={"critic_warmup": 0}))
    fixed = {name: p.detach().clone() for name, p in trainer.peft.named_parameters() if not p.requires_grad}
    for number in range(3):
        trainer.step(number, prompts(16), exclamations)
    now = dict(trainer.peft.named_parameters())
    assert all(torch.equal(now[name], before) for name, before in fixed.items())


# ---- whole trainings ----


def test_a_bandit_ends_at_the_optimum_known_in_closed_form(tmp_path: Path) -> None:
    """pi* = (.8008, .1626, .0367); E r = .7641, KL = .9155, objective .3064."""
    best = bandit.optimum()
    assert best.tolist() == pytest.approx([0.8008, 0.1626, 0.0367], abs=1e-4)
    kl = float((best * np.log(best / np.array(bandit.REFERENCE))).sum())
    reward = float(best @ np.array(bandit.REWARDS))
    assert (reward, kl, reward - bandit.BETA * kl) == pytest.approx((0.7641, 0.9155, 0.3064), abs=1e-4)
    base = bandit.build(tmp_path / "base")
    assert bandit.probabilities(base) == pytest.approx(np.array(bandit.REFERENCE), abs=2e-3)
    short = bandit.SETTINGS.model_copy(update={"steps": 40, "batch": 256, "minibatch": 128})
    assert bandit.distance(bandit.train(base, tmp_path / "run", 0, short)) <= 0.02


def test_training_teaches_replies_to_end_and_writes_an_adapter(tiny_model: Path, tmp_path: Path) -> None:
    said: list[dict[str, float]] = []
    settings = FAST.model_copy(update={"steps": 10, "batch": 64, "minibatch": 32, "micro_batch": 32, "learning_rate": 1e-2})
    trained = train_ppo(
        str(tiny_model), prompts(12), exclamations, settings, tmp_path, lambda step, steps, metrics: said.append(dict(metrics))
    )
    assert len(said) == 10
    assert said[-1]["finished"] > said[0]["finished"] + 0.2
    assert trained.rows == 12
    assert not (tmp_path / "checkpoints").exists()

    def finished(adapter: Path | None) -> float:
        found = sample_rollouts(load_policy(str(tiny_model), adapter), prompts(64), temperature=1.0, max_tokens=12, seed=9)
        return float(np.mean([each.finished for each in found]))

    assert finished(trained.adapter) > finished(None) + 0.2


KILLED = """
    import os, signal, sys
    from pathlib import Path
    import torch
    from tests.trainers.test_ppo import FAST, exclamations, prompts
    from trainers.policy.ppo import train_ppo

    torch.set_num_threads(1)
    stop_at = int(sys.argv[3])

    def progress(step, steps, metrics):
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = FAST.model_copy(update={"checkpoints": 2, "steps": 4, "governor_every": 1, "kl_target": 0.1})
    train_ppo(sys.argv[1], prompts(40), exclamations, settings, Path(sys.argv[2]), progress, exclamations)
"""


def test_a_killed_training_resumes_to_the_same_bytes(tiny_model: Path, tmp_path: Path) -> None:
    """Killed after step 3, the checkpoint of step 2 is the last: step 3 is done again."""

    def run(folder: Path, stop_at: int) -> int:
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tiny_model), str(folder), str(stop_at)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    assert run(tmp_path / "whole", 0) == 0
    assert run(tmp_path / "killed", 3) == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()] == ["step-2"]
    assert run(tmp_path / "killed", 0) == 0
    whole, killed = (load_file(tmp_path / name / "policy" / "adapter_model.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all(np.array_equal(whole[name], killed[name]) for name in whole)


SHARED = """
    import sys
    from pathlib import Path
    import torch
    from accelerate import PartialState
    from tests.trainers.test_ppo import FAST, exclamations, prompts
    from trainers.policy.ppo import train_ppo

    assert PartialState(cpu=True).num_processes == int(sys.argv[3])
    torch.set_num_threads(1)
    settings = FAST.model_copy(update={"minibatch": 16, "critic_warmup": 0, "governor_every": 2, "learning_rate": 1e-4})
    train_ppo(sys.argv[1], prompts(40), exclamations, settings, Path(sys.argv[2]), lambda *said: print("step", said[0]), exclamations)
"""


@pytest.mark.timeout(600)
def test_two_processes_train_the_same_policy_as_one(tiny_model: Path, tmp_path: Path) -> None:
    """Each has half of every batch: the replies are the same, and sums of gradients equal up to rounding. One reports."""
    script = tmp_path / "shared.py"
    script.write_text(textwrap.dedent(SHARED))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    adapters = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        command = [sys.executable, *launch, str(processes), str(script), str(tiny_model), str(folder), str(processes)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert [line for line in done.stdout.splitlines() if line.startswith("step")] == ["step 1", "step 2", "step 3"]
        adapters.append(load_file(folder / "policy" / "adapter_model.safetensors"))
    for name, weight in adapters[0].items():
        assert np.allclose(weight, adapters[1][name], atol=1e-5), name


@pytest.mark.parametrize("returned", [lambda n: [math.nan] * n, lambda n: [1.0] * (n + 1), lambda n: "nothing", lambda n: None])
def test_a_reward_that_is_no_number_for_each_reply_ends_the_training(
    tiny_model: Path, tmp_path: Path, returned: Callable[[int], list[float]]
) -> None:
    settings = FAST.model_copy(update={"max_tokens": 40})  # some replies end
    with pytest.raises(TrainingError, match="has to return"):
        train_ppo(str(tiny_model), prompts(8), lambda items: returned(len(items)), settings, tmp_path, silent)


@pytest.mark.parametrize(("room", "words"), [(2, "micro_batch = 2 in"), (0, "nor does 1: lower")])
def test_out_of_memory_says_which_micro_batch_fits(room: int, words: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = PPO(load_policy(str(tiny_model)), FAST.model_copy(update={"micro_batch": 8}))
    forward = trainer.forward

    def small(rollouts: Sequence[Rollout]) -> tuple[torch.Tensor, torch.Tensor]:
        if len(rollouts) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(rollouts)

    monkeypatch.setattr(trainer, "forward", small)
    with pytest.raises(TrainingError, match=words):
        trainer.step(0, prompts(16), exclamations)


def test_too_few_prompts_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="3 distinct prompts are too few"):
        train_ppo(str(tiny_model), prompts(3) * 5, exclamations, FAST, tmp_path, silent)
