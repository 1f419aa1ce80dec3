"""How much do the safety filters and the redaction of personal data find, and what do they take wrongly?

``python -m benchmarks.safety --json FILE``. Redaction: on data planted by Faker, on facts of recruiting, and on the texts of the simulated
world. Filters: on the half of ``texts.tsv`` and of ``benchmarks/gates/conduct.tsv`` that the rules were not tuned on, and false alarms on
dialogues of others. The lines and the rules have the same author, so that texts of others will be found less often. Also the time that
filters add to a turn.
"""

import argparse
import asyncio
import csv
import gzip
import hashlib
import json
import random
import statistics
import time
from collections.abc import Awaitable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import get_args

from benchmarks.figures import Figure, result, write
from benchmarks.gates.conduct import lines
from benchmarks.safety.personal import OTHERS, facts, planted
from serving.safety import conduct, injection, insults
from serving.safety.safety import Safety
from serving.safety.sentences import cut
from simulation.phrases import Split
from simulation.world import Conversation, draw_conversation
from storage.events import Message
from streams.privacy.redaction import Redactor
from trainers.audits.statistics.intervals import exact_share

DIALOGUES = Path(__file__).resolve().parents[3] / "shared" / "data" / "hr_dialogue" / "hr_multiwoz_sgd.jsonl.gz"
SEED = 20_261
CONFIDENCE = 0.975  # one side of a 95% interval
REPLY = "Your interview is on Monday at 10:00. Please bring your diploma. Is there anything else that you would like to know?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    scale = 1 if arguments.quick else 10
    conversations = _conversations(100 * scale)
    found = [*_redaction(10 * scale, conversations), *_filters(conversations), *_of_others(), *_times(conversations)]
    write(result("safety", found, ("phonenumbers", "python-stdnum", "faker", "pydantic")), arguments.json)


def _redaction(count: int, conversations: Sequence[Conversation]) -> list[Figure]:
    """Recall by kind, precision, and false alarms on facts and on the world's texts."""
    redactor = Redactor()
    kinds: dict[str, list[bool]] = {}
    right = wrong = 0
    for each in planted(SEED, count):
        redacted = redactor.redact(each.text)
        gone = not _shows(each.value, redacted.text)
        kinds.setdefault(each.kind, []).append(gone)
        right += gone
        wrong += max(0, sum(redacted.kinds.values()) - gone)
    others = [not _shows(each.value, redactor.redact(each.text).text) for each in planted(SEED, count, OTHERS)]
    facts_taken = [bool(redactor.redact(text).kinds) for text in facts(SEED, 160 * count)]
    world_taken = [bool(redactor.redact(text).kinds) for text in _texts(conversations)]
    everything = [each for gone in kinds.values() for each in gone]
    return [
        _share("redaction_recall", everything, ">=0.9"),
        *[_share(f"redaction_recall_{kind}", gone) for kind, gone in kinds.items()],
        _share("redaction_recall_other_countries", others),
        _share("redaction_precision", [True] * right + [False] * wrong, ">=0.95"),
        _share("redaction_false_alarms_facts", facts_taken, "<=0.02"),
        _share("redaction_false_alarms_world", world_taken, "<=0"),
    ]


def _shows(value: str, text: str) -> bool:
    """Whether more than a quarter of what identifies somebody in ``value``, its words with digits or an at sign, is still in the text."""
    parts = [part for part in value.replace(",", " ").split() if any(map(str.isdigit, part)) or "@" in part]
    left = sum(len(part) for part in parts if part in text)
    return left > sum(map(len, parts)) / 4


def _filters(conversations: Sequence[Conversation]) -> list[Figure]:
    """Recall and false alarms on the held-out halves, and false alarms on what the world's candidates ask."""
    rows = list(csv.reader(files("benchmarks.safety").joinpath("texts.tsv").read_text(encoding="utf-8").splitlines()[1:], delimiter="\t"))
    held_out = [(text, label) for text, label in rows if int(hashlib.sha256(text.encode()).hexdigest(), 16) % 2]
    figures = []
    for name, rules, label in (("injection", injection.findings, "injection"), ("insults", insults.findings, "insult")):
        figures.append(_share(f"{name}_recall", [bool(rules(text)) for text, of in held_out if of == label], ">=0.8"))
        figures.append(_share(f"{name}_false_alarms", [bool(rules(text)) for text, of in held_out if of == "harmless"], "<=0.05"))
    unseen = [line for line in lines() if line.held_out]
    figures += [
        _share("conduct_recall", [bool(conduct.findings(line.text)) for line in unseen if line.label != "lawful"], ">=0.8"),
        _share("conduct_false_alarms", [bool(conduct.findings(line.text)) for line in unseen if line.label == "lawful"], "<=0.05"),
    ]
    asked = sorted({ask for conversation in conversations for ask in conversation.asks})
    return [*figures, _share("injection_false_alarms_world", [bool(injection.findings(text)) for text in asked], "<=0")]


def _of_others() -> list[Figure]:
    """False alarms on dialogues with an HR assistant, where the file is there; redactions there are counted, most of them are right."""
    if not DIALOGUES.is_file():
        return []
    with gzip.open(DIALOGUES, "rt", encoding="utf-8") as file:
        said = [turn for line in file for turn in json.loads(line)["utterance"]]
    employees = sorted({turn.partition(":")[2].strip() for turn in said if turn.startswith("Employee")})
    assistant = sorted({turn.partition(":")[2].strip() for turn in said if turn.startswith("HR")})
    sentences = [sentence for turn in assistant for sentence in cut(turn, final=True)[0]]
    redactor = Redactor()
    return [
        _share("injection_false_alarms_hr", [bool(injection.findings(turn)) for turn in employees], "<=0.005"),
        _share("insults_false_alarms_hr", [bool(insults.findings(sentence)) for sentence in sentences], "<=0.005"),
        _share("conduct_flagged_hr", [bool(conduct.findings(sentence)) for sentence in sentences]),
        _share("redacted_hr", [bool(redactor.redact(turn).kinds) for turn in employees]),
        _share("redacted_hr_assistant", [bool(redactor.redact(turn).kinds) for turn in assistant]),
    ]


def _times(conversations: Sequence[Conversation]) -> list[Figure]:
    """Milliseconds that a turn takes longer: the candidate's message, the reply, and redaction before logging."""
    prompts = [[Message.model_validate(message) for message in each.prompt([REPLY] * (len(each.asks) - 1))] for each in conversations]

    async def questions() -> list[float]:
        safety = Safety()
        return [await _timed(safety.question(prompt)) for prompt in prompts]

    async def replies() -> list[float]:
        safety = Safety()
        return [await _timed(safety.reply(f"Hello {number}. {REPLY} {number}?")) for number in range(len(prompts))]

    redactor = Redactor()
    redacted = []
    for prompt in prompts:
        started = time.perf_counter()
        for message in prompt:
            redactor.redact(message.content)
        redacted.append(time.perf_counter() - started)
    measured = {"question": asyncio.run(questions()), "reply": asyncio.run(replies()), "redaction": redacted}
    return [Figure(f"{name}_ms_p50", 1e3 * statistics.median(seconds), None, None, "ms") for name, seconds in measured.items()]


async def _timed(call: Awaitable[object]) -> float:
    started = time.perf_counter()
    await call
    return time.perf_counter() - started


def _conversations(count: int) -> list[Conversation]:
    rng = random.Random(SEED)
    return [draw_conversation(rng, split) for _ in range(count) for split in get_args(Split)]


def _texts(conversations: Iterable[Conversation]) -> Iterable[str]:
    for conversation in conversations:
        for message in conversation.prompt([REPLY] * (len(conversation.asks) - 1)):
            yield message["content"]


def _share(name: str, hits: Sequence[bool], reach: str = "") -> Figure:
    bounds = exact_share(sum(hits), len(hits), CONFIDENCE)
    return Figure(name, sum(hits) / len(hits), bounds.low, bounds.high, "1", reach)


if __name__ == "__main__":
    main()
