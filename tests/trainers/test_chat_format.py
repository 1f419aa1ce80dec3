"""Chat templates of third-party models: what each accepts is probed, and conversations are adapted to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from storage.errors import DataRefused, ModelNotFound
from storage.events import Message
from trainers.data.preference import Preference
from trainers.models.chat_format import ChatFormat
from trainers.policy.dpo import DPOSettings, train_dpo

GEMMA = (  # refuses a system message and turns that do not alternate, and has another name for the assistant
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{{ '<|im_start|>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"
)
SILENT = (  # silently drops system messages
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['content'] + '<|im_end|>' }}{% endif %}{% endfor %}"
)
TOLD, ASKED = Message(role="system", content="Stage: offer"), Message(role="user", content="Any news?")
ANSWERED = Message(role="assistant", content="By Friday.")
Tokenizer = Callable[..., Any]


@pytest.fixture
def tokenizer(tiny_model: Path) -> Tokenizer:
    def made(template: str | None, **tokens: str | None) -> Any:
        found = AutoTokenizer.from_pretrained(tiny_model)
        found.chat_template = template
        for name, token in tokens.items():
            setattr(found, name, token)
        return found

    return made


def text_of(tokenizer: Any, *prompt: Message) -> str:
    return str(tokenizer.decode(ChatFormat(tokenizer, "model").prompt_ids(prompt)))


def test_a_template_without_a_system_role_gets_its_text_in_the_first_user_turn(tokenizer: Tokenizer) -> None:
    for template in (GEMMA, SILENT):
        assert "Stage: offer\n\nAny news?" in text_of(tokenizer(template), TOLD, ASKED)
    assert text_of(tokenizer(GEMMA), ASKED) == "<|im_start|>user\nAny news?<|im_end|>\n<|im_start|>model\n"


def test_turns_that_do_not_alternate_are_joined_where_the_template_refuses_them(tokenizer: Tokenizer) -> None:
    rendered = text_of(tokenizer(GEMMA), TOLD, ASKED, ASKED.model_copy(update={"content": "Hello?"}), ANSWERED, ANSWERED, ASKED)
    assert rendered.count("<|im_start|>user") == 2
    assert "Any news?\n\nHello?<|im_end|>" in rendered
    assert "By Friday.\n\nBy Friday.<|im_end|>" in rendered


def test_a_conversation_that_the_assistant_begins_keeps_what_it_said(tokenizer: Tokenizer) -> None:
    rendered = text_of(tokenizer(GEMMA), ANSWERED, ASKED)
    assert rendered.startswith("<|im_start|>user\nassistant: By Friday.\n\nAny news?<|im_end|>")
    assert text_of(tokenizer(GEMMA), TOLD, ANSWERED).startswith("<|im_start|>user\nStage: offer\n\nassistant: By Friday.<|im_end|>")
    assert text_of(tokenizer(GEMMA), TOLD, ANSWERED, ASKED).startswith("<|im_start|>user\nStage: offer\n\nassistant: By Friday.\n\nAny")


def test_a_model_without_a_template_ends_each_turn_and_each_reply_with_its_eos(tokenizer: Tokenizer) -> None:
    found = tokenizer(None)
    chat = ChatFormat(found, "model")
    assert found.decode(chat.prompt_ids([ASKED, ANSWERED, ASKED])) == (
        "user:\nAny news?<|im_end|>\nassistant:\nBy Friday.<|im_end|>\nuser:\nAny news?<|im_end|>\nassistant:\n"
    )
    assert chat.reply_ids("Yes.")[-1] == found.eos_token_id
    assert chat.reply_ids("Yes.").count(found.eos_token_id) == 1


def test_a_reply_ends_with_the_token_that_the_template_writes_after_it(tokenizer: Tokenizer) -> None:
    found = tokenizer(GEMMA, eos_token="<|pad|>")  # a base model's end of text, which the template does not use
    assert found.convert_ids_to_tokens(ChatFormat(found, "model").end) == "<|im_end|>"
    assert found.convert_ids_to_tokens(ChatFormat(tokenizer(None, eos_token="<|pad|>"), "model").end) == "<|pad|>"


def test_a_tokenizer_without_any_end_and_a_broken_template_say_what_to_do(tokenizer: Tokenizer) -> None:
    bare = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    with pytest.raises(ModelNotFound, match=r"set eos_token in tokenizer_config\.json"):
        ChatFormat(tokenizer(bare, eos_token=None), "model")
    with pytest.raises(ModelNotFound, match=r"cannot render a user message \(only tools.*fix chat_template"):
        ChatFormat(tokenizer("{{ raise_exception('only tools') }}"), "model")


def test_a_prompt_that_is_too_long_loses_its_oldest_turns_and_keeps_the_system_message(tokenizer: Tokenizer) -> None:
    found = tokenizer(GEMMA)
    chat = ChatFormat(found, "model")
    old = ASKED.model_copy(update={"content": "An old question. " * 20})
    whole = [TOLD, old, ANSWERED, ASKED]
    assert chat.fitted_ids(whole, 10_000) == chat.prompt_ids(whole)
    fitted = found.decode(chat.fitted_ids(whole, 90))
    assert "old question" not in fitted
    assert fitted.startswith("<|im_start|>user\nStage: offer\n\n")
    assert fitted.endswith("Any news?<|im_end|>\n<|im_start|>model\n")
    shortened = found.decode(chat.fitted_ids([TOLD, old], 120))
    assert "Stage: offer" in shortened
    assert shortened.endswith("An old question. <|im_end|>\n<|im_start|>model\n")
    assert len(chat.fitted_ids([TOLD, old], 120)) <= 120
    assert len(chat.fitted_ids([TOLD, old], 5)) == 5


def test_rows_whose_reply_does_not_fit_are_counted_and_the_others_end_with_one_eos(tiny_model: Path, tmp_path: Path) -> None:
    prompt = (TOLD, Message(role="user", content="Question " * 40))
    rows = [Preference.of_replies(prompt, f"By Monday {i}.", f"See the portal {i}.") for i in range(12)]
    rows += [Preference.of_replies(prompt, f"By Monday {i}.", "word " * 60) for i in range(4)]
    settings = DPOSettings(epochs=1, least_rows=8, max_length=128)
    trained = train_dpo(str(tiny_model), rows, settings, tmp_path / "out", lambda *_: None)
    assert (trained.rows, trained.too_long) == (12, 4)
    with pytest.raises(DataRefused, match=r"16 of 16 rows do not fit.*raise max_length"):
        train_dpo(str(tiny_model), rows, settings.model_copy(update={"max_length": 32}), tmp_path / "none", lambda *_: None)
