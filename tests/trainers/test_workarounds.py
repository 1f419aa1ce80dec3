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
