"""Writes the model card from measured figures."""

from pathlib import Path
from typing import Any

ROWS = (
    ("wrong_facts", "replies that state something the facts do not (at most .02)"),
    ("unlawful", "replies with a promise or an unlawful question (at most .015)"),
    ("concrete", "replies that name the fact that was asked for"),
    ("dated", "replies that date the next step"),
    ("warm", "warm replies"),
    ("question", "replies that ask back"),
    ("filler_sentences", "empty sentences a reply"),
    ("tasks_done", "bookings and status questions answered rightly"),
    ("different_replies", "replies that were drawn once only"),
    ("unfinished", "replies cut off at 96 tokens"),
    ("off_topic_ok", "held-out off-topic questions without facts that are turned down by a reply of the corpus (at least .95)"),
    ("off_topic_recognised", "the same by a reply to what is off-topic, not by one to a question about an application"),
    ("off_topic_ok_beside_facts", "the same beside a candidate's facts with the topic `other`"),
    ("no_facts_ok", "candidates' questions without facts that are turned down so"),
    ("misspelt_deflected", "misspelt recruiting questions beside their facts that are turned down (at most .03)"),
    ("misspelt_wrong_facts", "replies to misspelt recruiting questions that state something the facts do not"),
    ("tokens_a_prompt", "tokens a prompt, mean"),
    ("tokens_a_reply", "tokens a reply, mean"),
)


def write_card(folder: Path, figures: dict[str, Any]) -> None:
    """Write ``README.md`` into the model's folder."""
    rows = "\n".join(f"| {text} | {figures[name]} |" for name, text in ROWS)
    (folder / "README.md").write_text(
        CARD.format(
            rows=rows,
            replies=figures["replies"],
            parameters=f"{figures['parameters']:,}",
            vocabulary=f"{figures['vocabulary']:,}",
            minutes=round(figures["training_seconds"] / 60, 1),
            steps=f"{figures['recipe']['steps']:,}",
            **{key: figures["recipe"][key] for key in ("hidden", "layers", "heads", "seed", "batch", "invented", "off_topic", "sharpness")},
        ),
        encoding="utf-8",
    )


CARD = """---
license: mit
language: en
pipeline_tag: text-generation
library_name: transformers
---
# The base model of FeedbackLoop's simulated world

A Llama of {parameters} parameters (hidden {hidden}, {layers} layers, {heads} heads, tied embeddings, byte-level BPE of
{vocabulary}), trained from nothing. It lets chat, DPO, evaluation and gates run as the real code on one CPU core. It is **not** a
language model for any other use: it knows a few hundred words, and answers candidates of the simulated recruiting world from a
block of facts.

## How it was made

`python -m simulation.base_model.build --out FOLDER` draws dialogues from `simulation/world.py` and `simulation/corpus.py` (no data from
outside), {steps} steps of {batch} dialogues, seed {seed}, {minutes} minutes on one shared core. A share of {invented} of the dialogues is
about names, roles and employers made of invented words, so that facts are copied and not remembered. Copying is also practised outside
dialogues, on bare lists of facts whose names, roles and employers are random words; single words of the held-out lists are
among them (each is one token, and a token that was never trained cannot be copied), but no held-out role, employer, question or
dialogue is. The two heads that copying needs stand at the start (`copying.py`); all weights are trained. The same seed gives
the same weights on the same machine and torch. After training the final norm was multiplied by {sharpness}, so that
temperature 1 of this model is temperature 1/{sharpness} of the trained one: a small model's far tail is mostly error.

Replies of the corpus are concrete or vague, dated or pointing elsewhere, warm or plain, asking back or not, with 0 to 2 empty
sentences, each independently and at about half; about one in a hundred carries a slip (a taken slot, a promise, an unlawful
question). A reply greets, leads up to its answer, answers, names the next step, adds an aside and closes. A share of {off_topic} of the
dialogues ends with a question which no facts answer (`simulation/off_topic.toml`: knowledge, small talk, code, other languages,
typing errors and the like, most of them without facts); the reply then says in a sentence or two that it can only help with the
application. No preference of anybody went in: what recruiters value is drawn later, per seed, and is never seen here.

## Figures

Measured by `simulation/base_model/figures.py` on {replies} replies at temperature 1 (top-p 1) to conversations with names, roles,
employers and questions that stood in no training dialogue, later turns after the model's own earlier replies. Also in `figures.json`.

| | |
|---|---|
{rows}

## Limits

English, six matters (booking, status, rejection, offer, documents, remote work), names and wordings like those of the lists. It copies
facts that stand in the system message in the form `Key: value` and makes up those that are missing there; without any it says that it
cannot see the application. Beside facts it goes by the topic that the system message names: one of the six matters is answered
whatever the words, `other` is turned down. Names come from lists
by group; the group is independent of everything in the corpus, and a test holds that. `SHA256SUMS` fixes the files by hash: a
recipe tuned on this model is tuned on exactly this one.
"""
