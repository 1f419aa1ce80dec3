"""What has to hold of a snapshot before anything is trained on it, said as Great Expectations; the first stage of every run.

A failed expectation ends the run and is named. This is the only file that imports Great Expectations, which takes seconds.
"""

import logging
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import great_expectations as gx
import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
from great_expectations.data_context.types.base import ProgressBarsConfig

from storage.events import unpack
from storage.snapshots.snapshot import Snapshot, without_overlap

logging.getLogger("great_expectations").setLevel(logging.WARNING)


class Failure(NamedTuple):
    """An expectation that does not hold: its name, and in plain words how it fails."""

    name: str
    detail: str


class Expected(NamedTuple):
    """An expectation under a name that a person understands."""

    name: str
    words: str
    expectation: Any


def check(snapshot: Snapshot, *, minimum_rows: int = 1) -> list[Failure]:
    """Every expectation that the snapshot does not meet; empty when all hold.

    Parameters
    ----------
    minimum_rows : the fewest preferences of the training stratum that are worth a run
    """
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    preferences = _preferences(snapshot.preferences)
    prompts: pd.DataFrame = snapshot.prompts.to_pandas()
    admitted = without_overlap(snapshot.preferences, snapshot.prompts).to_pandas()
    training = admitted[admitted["stratum"] == "training"]
    return [
        *_failures(context, "preferences", preferences, _on_preferences(preferences)),
        *_failures(context, "training", training, _on_training(minimum_rows)),
        *_failures(context, "prompts", prompts, _on_prompts()),
    ]


def _on_preferences(frame: pd.DataFrame) -> list[Expected]:
    needed = ["sequence", "objective", "event_id", "pair_id", "conversation_id", "prompt", "a", "b", "choice", "recruiter", "stratum"]
    needed += ["source", "embedding_hash", "features_a", "features_b", "occurred_at"]
    expect: Any = gx.expectations  # its names are made at import and unknown to mypy
    return [
        *(
            Expected(f"preferences.{name}.present", f"{name} is missing", expect.ExpectColumnValuesToNotBeNull(column=name))
            for name in needed
        ),
        Expected(
            "preferences.event_id.unique",
            "a judgment counts more than once",
            expect.ExpectCompoundColumnsToBeUnique(column_list=["event_id", "objective"]),
        ),
        Expected(
            "preferences.sequence.increasing",
            "the preferences are not in the order of their numbers",
            expect.ExpectColumnValuesToBeInSet(column="in_order", value_set=[True]),
        ),
        Expected(
            "preferences.choice.known",
            "a choice is none of A, B and tie",
            expect.ExpectColumnValuesToBeInSet(column="choice", value_set=["A", "B", "tie"]),
        ),
        Expected(
            "preferences.strength.between_1_and_4",
            "a strength lies outside 1 to 4",
            expect.ExpectColumnValuesToBeBetween(column="strength", min_value=1, max_value=4),
        ),
        Expected(
            "preferences.stratum.known",
            "a stratum is neither training nor evaluation",
            expect.ExpectColumnValuesToBeInSet(column="stratum", value_set=["training", "evaluation"]),
        ),
        *(
            Expected(
                f"preferences.{name}.not_empty", f"{name} holds no text", expect.ExpectColumnValuesToMatchRegex(column=name, regex=r"\S")
            )
            for name in ("a", "b", "last_message")
        ),
        Expected(
            "preferences.responses.differ",
            "both responses of a pair are the same text",
            expect.ExpectColumnValuesToBeInSet(column="responses_differ", value_set=[True]),
        ),
        Expected(
            "preferences.features.one_length",
            "feature vectors differ in length",
            expect.ExpectColumnUniqueValueCountToBeBetween(column="features_length", max_value=1),
        ),
        Expected(
            "preferences.features.same_length_in_a_pair",
            "a pair's two feature vectors differ in length",
            expect.ExpectColumnPairValuesToBeEqual(column_A="features_length", column_B="features_b_length"),
        ),
        Expected(
            "preferences.features.finite",
            "a feature vector cannot be read or is not finite",
            expect.ExpectColumnValuesToBeInSet(column="features_finite", value_set=[True]),
        ),
        Expected(
            "preferences.features.one_embedding",
            "features of several embeddings are mixed",
            expect.ExpectColumnUniqueValueCountToBeBetween(column="embedding_hash", max_value=1),
        ),
    ]


def _on_training(minimum_rows: int) -> list[Expected]:
    expect: Any = gx.expectations
    return [
        Expected(
            "training.enough_rows",
            f"there are fewer than {minimum_rows} preferences to train on",
            expect.ExpectTableRowCountToBeBetween(min_value=minimum_rows),
        )
    ]


def _on_prompts() -> list[Expected]:
    expect: Any = gx.expectations  # its names are made at import and unknown to mypy
    needed = ("reply_id", "conversation_id", "prompt", "reply", "version", "source")
    return [
        *(Expected(f"prompts.{name}.present", f"{name} is missing", expect.ExpectColumnValuesToNotBeNull(column=name)) for name in needed),
        Expected("prompts.reply_id.unique", "a reply stands twice", expect.ExpectColumnValuesToBeUnique(column="reply_id")),
        Expected("prompts.prompt.unique", "a prompt stands twice", expect.ExpectColumnValuesToBeUnique(column="prompt")),
        Expected("prompts.reply.not_empty", "a reply holds no text", expect.ExpectColumnValuesToMatchRegex(column="reply", regex=r"\S")),
        Expected(
            "prompts.stratum.evaluation",
            "a prompt is not of the evaluation stratum",
            expect.ExpectColumnValuesToBeInSet(column="stratum", value_set=["evaluation"]),
        ),
    ]


def _preferences(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    place = list(zip(frame["sequence"], frame["objective"], strict=True))
    frame["in_order"] = [True, *(before < after for before, after in pairwise(place))][: len(place)]
    frame["last_message"] = _by_row(frame["prompt"], _last_message)
    frame["responses_differ"] = frame["a"] != frame["b"]
    lengths = {side: _by_row(frame[f"features_{side}"], _length) for side in "ab"}
    frame["features_length"], frame["features_b_length"] = lengths["a"], lengths["b"]
    frame["features_finite"] = [a is not None and b is not None for a, b in zip(lengths["a"], lengths["b"], strict=True)]
    return frame


def _by_row(column: pd.Series, function: Callable[[str], Any]) -> list[Any]:
    return [function(value) if isinstance(value, str) else None for value in column]


def _last_message(prompt: str) -> str:
    try:
        return str(orjson.loads(prompt)[-1]["content"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return ""


def _length(vector: str) -> int | None:
    """The number of components; None where they cannot be read or one of them is not finite."""
    try:
        components = unpack(vector)
    except ValueError:
        return None
    return len(components) if np.isfinite(components).all() else None


def _failures(context: Any, name: str, frame: pd.DataFrame, expected: list[Expected]) -> list[Failure]:
    batch = context.data_sources.add_pandas(name).add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    suite = context.suites.add(gx.ExpectationSuite(name=name))
    for wanted in expected:
        wanted.expectation.meta = {"name": wanted.name}
        suite.add_expectation(wanted.expectation)
    validation = gx.ValidationDefinition(data=batch, suite=suite, name=name)
    results: list[Any] = validation.run(batch_parameters={"dataframe": frame}, result_format="SUMMARY").results
    words = {wanted.name: wanted.words for wanted in expected}
    failed = [(result.expectation_config.meta["name"], result) for result in results if not result.success]
    return [Failure(wanted, _detail(words[wanted], result)) for wanted, result in failed]


def _detail(words: str, result: Any) -> str:
    """Our words, then the figures of the check."""
    if raised := result.exception_info.get("exception_message"):
        return f"{words}: the check itself failed: {raised}"
    found = result.result
    if count := found.get("unexpected_count"):
        rows = f"{count} of {found['element_count']} rows"
        shown = [value for value in found.get("partial_unexpected_list", [])[:3] if value is not None and value == value]  # not NaN
        examples = [str(value)[:80] for value in shown]
        return f"{words}: {rows}" + (f", such as {', '.join(examples)}" if examples else "")
    return f"{words}: found {found.get('observed_value')}"
