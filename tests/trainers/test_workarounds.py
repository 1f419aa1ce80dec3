"""Each workaround still reaches the library that it is for."""

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainers.test_dpo import FAST, preferred, silent
from trainers.policy import dpo, fine_tuning, workarounds

pytestmark = pytest.mark.training


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other ways")
def test_glibc_takes_both_limits() -> None:
    assert workarounds.keep_freed_memory()


def trained(model: Path, folder: Path) -> dict[str, float]:
    return dict(dpo.train_dpo(str(model), preferred(16), FAST, folder, silent).metrics)


def test_logits_at_reply_positions_only_train_the_same_adapter(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import trl.trainer.utils

    utils: Any = trl.trainer.utils
    answers: list[bool] = []

    @contextlib.contextmanager
    def observed() -> Iterator[None]:
        with workarounds.reply_logits_only():
            patched = utils._use_triton

            def asked(device: Any) -> bool:
                answers.append(patched(device))
                return answers[-1]

            monkeypatch.setattr(utils, "_use_triton", asked)
            yield

    monkeypatch.setattr(fine_tuning, "reply_logits_only", contextlib.nullcontext)
    everywhere = trained(tiny_model, tmp_path / "everywhere")
    monkeypatch.setattr(fine_tuning, "reply_logits_only", observed)
    at_replies = trained(tiny_model, tmp_path / "at-replies")
    assert answers, "TRL no longer asks this function"
    assert all(answers)
    assert at_replies == pytest.approx(everywhere, rel=1e-3, abs=1e-5)


def test_the_variable_turns_the_progress_bar_of_trl_off(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trained(tiny_model, tmp_path / "without-a-bar")
    assert "reference log probs" not in capfd.readouterr().err
    monkeypatch.setattr(fine_tuning, "tqdm_disabled", contextlib.nullcontext)
    trained(tiny_model, tmp_path / "with-a-bar")
    assert "reference log probs" in capfd.readouterr().err


def test_four_bit_weights_have_gradients_after_a_pass_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the workaround bitsandbytes repacks them; only where the CPU has its bfloat16 kernels."""
    import torch
    from bitsandbytes.functional import has_avx512bf16

    from trainers.models import policy as policies

    def gradient() -> torch.Tensor:
        model = policies.load_policy("shipped", quantization="4bit").model
        ids = torch.arange(5, 45)[None]
        with torch.no_grad():
            model(ids)
        embedded = model.get_input_embeddings()(ids).detach().requires_grad_(True)
        model(inputs_embeds=embedded).logits.logsumexp(-1).sum().backward()
        assert embedded.grad is not None
        found: torch.Tensor = embedded.grad
        return found

    right = gradient()
    assert right.abs().sum() > 0
    if not has_avx512bf16():  # type: ignore[no-untyped-call]
        pytest.skip("this CPU has no kernels that bitsandbytes would repack for")
    monkeypatch.setattr(policies, "keep_four_bit_weights_differentiable", lambda model: None)
    with pytest.warns(UserWarning, match="autograd kernel was not registered"):
        assert not torch.allclose(gradient(), right, rtol=1e-2)
