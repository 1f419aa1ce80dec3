"""The base model's tokenizer: byte-level BPE in which words, times such as "14:30" and line breaks can become single tokens."""

from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from simulation.phrases import phrases

VOCABULARY = 2560
START, END, PAD = "<|im_start|>", "<|im_end|>", "<|pad|>"

# The line break stands only between messages: after the last one it would be a token that no chat client ever sends.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}"
    "{% if not loop.last or add_generation_prompt %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """Learn the merges from ``texts``; any text in UTF-8 can be encoded and decoded without loss."""
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(r" ?\d{1,2}:\d\d| ?[A-Za-z]+| ?[0-9]+|\n| ?[^\sA-Za-z0-9]+|\s"), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_with_closed_lists(texts), trainer)
    fast: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[START],
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
        padding_side="left",
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _with_closed_lists(texts: Iterator[str]) -> Iterator[str]:
    """The texts, preceded by enough repeats of what must become one token: message roles, days, hours, months and the like."""
    words = phrases()
    listed = [
        *words["weekdays"],
        *words["hours"],
        *words["months"],
        *words["documents"],
        *words["remote"],
        *(stage for stages in words["stages"].values() for stage in stages),
    ]
    yield from ["system", "user", "assistant", *(f" {item}" for item in listed)] * 1000
    yield from texts
