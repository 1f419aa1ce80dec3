"""Validates a snapshot with Great Expectations, as the first stage of every training run.

A failed expectation fails the run and is named, with how many rows break it: an example would put what a candidate wrote where no erasure
looks. The results are written as Data Docs, static HTML pages. Only this file imports Great Expectations, which takes seconds.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from storage.events import unpack
from storage.snapshots.snapshot import Snapshot, without_overlap

logging.getLogger("great_expectations").setLevel(logging.WARNING)  # its import logs hundreds of lines

import great_expectations as gx  # noqa: E402
from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: E402

logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)  # has a level of its own
expect: Any = gx.expectations  # its names are created at import, so mypy does not know them

# JSON schema of a conversation in a snapshot, and a regex for one whose last message is blank.
CONVERSATION_SCHEMA: Final = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {"role": {"enum": ["system", "user", "assistant"]}, "content": {"type": "string"}},
        "required": ["role", "content"],
    },
}
BLANK_LAST_MESSAGE: Final = r'"content":"(?:\s|\\[nrt])*"\}\]$'
MAX_FLOAT32: Final = float(np.finfo(np.float32).max)
COUNTS: Final = {"result_format": "SUMMARY", "partial_unexpected_count": 0}  # no samples of the data in results and pages
# Great Expectations does not escape what it writes into its pages, and loads scripts from a CDN. Block both.
STANDALONE_HEAD: Final = """
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<style>
  body { font: 15px/1.5 system-ui, sans-serif; color: #1d2433; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
  table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
  td, th { border-bottom: 1px solid #d9deea; padding: .35rem .8rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
  .fa-check-circle::before { content: "✓"; }
  .fa-times::before { content: "✗"; }
  .fa-exclamation-triangle::before { content: "!"; }
  img, footer, input, .btn { display: none; }
</style>
"""


class Failure(NamedTuple):
    """A failed expectation: its name, and a description of the failure."""

    name: str
    detail: str


class Expected(NamedTuple):
    """An expectation with a readable name, and the message for its failure."""

    name: str
    words: str
    expectation: Any


def check(snapshot: Snapshot, docs: Path, *, minimum_rows: int = 1) -> list[Failure]:
    """Validate the snapshot; return the failed expectations.

    Parameters
    ----------
    docs : folder for the Data Docs and ``index.html``; it is created
    minimum_rows : minimum number of preferences in the training stratum
    """
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    for name, site in dict(context.variables.data_docs_sites or {}).items():  # the default, in a temporary folder that is never removed
        shutil.rmtree(site["store_backend"]["base_directory"], ignore_errors=True)
        context.delete_data_docs_site(name)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)}
    context.add_data_docs_site("snapshot", {"class_name": "SiteBuilder", "show_how_to_buttons": False, "store_backend": store})  # type: ignore[typeddict-item]
    training = without_overlap(snapshot.preferences, snapshot.prompts).to_pandas().query("stratum == 'training'")
    definitions = [
        (_validation(context, "preferences", _on_preferences()), snapshot.preferences.to_pandas()),
        (_validation(context, "features", _on_features()), _features(snapshot.preferences)),
        (_validation(context, "training", _on_training(minimum_rows)), training),
        (_validation(context, "prompts", _on_prompts()), snapshot.prompts.to_pandas()),
        (_validation(context, "ratings", _on_ratings()), snapshot.ratings.to_pandas()),
    ]
    results = {
        definition.name: definition.run(batch_parameters={"dataframe": frame}, result_format=COUNTS) for definition, frame in definitions
    }
    context.build_data_docs()
    _make_self_contained(docs)
    (docs / "index.html").write_text(_index(docs, results), encoding="utf-8")
    return [failure for result in results.values() for failure in _failures(result)]


def _on_preferences() -> Iterator[Expected]:
    for name in (
        "sequence", "objective", "event_id", "pair_id", "conversation_id", "prompt", "a", "b", "choice", "recruiter", "stratum", "source",
        "embedding_hash", "features_a", "features_b", "occurred_at",
    ):  # fmt: skip
        yield Expected(f"preferences.{name}.present", f"{name} is missing", expect.ExpectColumnValuesToNotBeNull(column=name))
    yield Expected(
        "preferences.event_id.unique",
        "a judgment counts more than once",
        expect.ExpectCompoundColumnsToBeUnique(column_list=["event_id", "objective"]),
    )
    yield Expected(
        "preferences.sequence.increasing",
        "the preferences are not ordered by sequence number",
        expect.ExpectColumnValuesToBeIncreasing(column="sequence"),
    )
    yield Expected(
        "preferences.sequence.unique",
        "a sequence number occurs twice",
        expect.ExpectCompoundColumnsToBeUnique(column_list=["sequence", "objective"]),
    )
    yield Expected(
        "preferences.choice.known",
        "a choice is not A, B or tie",
        expect.ExpectColumnValuesToBeInSet(column="choice", value_set=["A", "B", "tie"]),
    )
    yield Expected(
        "preferences.strength.between_1_and_4",
        "a strength is outside 1 to 4",
        expect.ExpectColumnValuesToBeBetween(column="strength", min_value=1, max_value=4),
    )
    yield Expected(
        "preferences.stratum.known",
        "a stratum is neither training nor evaluation",
        expect.ExpectColumnValuesToBeInSet(column="stratum", value_set=["training", "evaluation"]),
    )
    yield Expected(
        "preferences.prompt.conversation",
        "a prompt is not a conversation",
        expect.ExpectColumnValuesToMatchJsonSchema(column="prompt", json_schema=CONVERSATION_SCHEMA),
    )
    yield Expected(
        "preferences.prompt.ends_with_words",
        "the last message of a prompt is blank",
        expect.ExpectColumnValuesToNotMatchRegex(column="prompt", regex=BLANK_LAST_MESSAGE),
    )
    for name in ("a", "b"):
        blank = expect.ExpectColumnValuesToMatchRegex(column=name, regex=r"\S")
        yield Expected(f"preferences.{name}.not_empty", f"{name} is blank", blank)
    yield Expected(
        "preferences.responses.differ",
        "both responses of a pair are the same text",
        expect.ExpectSelectColumnValuesToBeUniqueWithinRecord(column_list=["a", "b"]),
    )
    yield Expected(
        "preferences.features.one_embedding",
        "features from several embedding models are mixed",
        expect.ExpectColumnUniqueValueCountToBeBetween(column="embedding_hash", max_value=1),
    )


def _on_features() -> Iterator[Expected]:
    yield Expected("features.readable", "a feature vector cannot be read", expect.ExpectColumnValuesToNotBeNull(column="length"))
    yield Expected(
        "features.one_length",
        "feature vectors differ in length",
        expect.ExpectColumnUniqueValueCountToBeBetween(column="length", max_value=1),
    )
    yield Expected(
        "features.finite",
        "a component of a feature vector is not finite",
        expect.ExpectColumnValuesToBeBetween(column="largest", min_value=0, max_value=MAX_FLOAT32),
    )


def _on_training(minimum_rows: int) -> Iterator[Expected]:
    yield Expected(
        "training.enough_rows",
        f"there are fewer than {minimum_rows} preferences to train on",
        expect.ExpectTableRowCountToBeBetween(min_value=minimum_rows),
    )


def _on_prompts() -> Iterator[Expected]:
    for name in ("reply_id", "conversation_id", "prompt", "reply", "version", "source"):
        yield Expected(f"prompts.{name}.present", f"{name} is missing", expect.ExpectColumnValuesToNotBeNull(column=name))
    yield Expected("prompts.reply_id.unique", "a reply occurs twice", expect.ExpectColumnValuesToBeUnique(column="reply_id"))
    yield Expected("prompts.prompt.unique", "a prompt occurs twice", expect.ExpectColumnValuesToBeUnique(column="prompt"))
    yield Expected("prompts.reply.not_empty", "a reply is blank", expect.ExpectColumnValuesToMatchRegex(column="reply", regex=r"\S"))
    yield Expected(
        "prompts.stratum.evaluation",
        "a prompt is not in the evaluation stratum",
        expect.ExpectColumnValuesToBeInSet(column="stratum", value_set=["evaluation"]),
    )


def _on_ratings() -> Iterator[Expected]:
    for name in ("event_id", "conversation_id", "prompt", "reply", "good", "recruiter", "stratum", "source"):
        yield Expected(f"ratings.{name}.present", f"{name} is missing", expect.ExpectColumnValuesToNotBeNull(column=name))
    yield Expected(
        "ratings.event_id.unique",
        "a rating counts more than once",
        expect.ExpectCompoundColumnsToBeUnique(column_list=["event_id", "side"]),
    )
    yield Expected("ratings.reply.not_empty", "a reply is blank", expect.ExpectColumnValuesToMatchRegex(column="reply", regex=r"\S"))
    yield Expected(
        "ratings.stratum.known",
        "a stratum is neither training nor evaluation",
        expect.ExpectColumnValuesToBeInSet(column="stratum", value_set=["training", "evaluation"]),
    )


def _features(preferences: pa.Table) -> pd.DataFrame:
    """One row for each feature vector, which the snapshot stores as base64: its length and its largest absolute component.

    Both are missing if the text is not a vector; a NaN component counts as infinite.
    """
    rows: list[tuple[str, str, int | None, float | None]] = []
    for side in ("a", "b"):
        for event_id, vector in zip(preferences["event_id"].to_pylist(), preferences[f"features_{side}"].to_pylist(), strict=True):
            try:
                sizes = np.nan_to_num(np.abs(unpack(vector)), nan=np.inf, posinf=np.inf)
                rows.append((str(event_id), side, len(sizes), float(sizes.max(initial=0))))
            except (TypeError, ValueError):
                rows.append((str(event_id), side, None, None))
    return pd.DataFrame(rows, columns=["event_id", "response", "length", "largest"]).astype({"length": "float64", "largest": "float64"})


def _validation(context: Any, name: str, expected: Iterator[Expected]) -> Any:
    batch = context.data_sources.add_pandas(name).add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    suite = context.suites.add(gx.ExpectationSuite(name=name))
    for wanted in expected:
        wanted.expectation.meta = {"name": wanted.name, "words": wanted.words}
        wanted.expectation.notes = f"{wanted.name}: on failure, {wanted.words}"
        suite.add_expectation(wanted.expectation)
    return context.validation_definitions.add(gx.ValidationDefinition(data=batch, suite=suite, name=name))


def _failures(validation: Any) -> list[Failure]:
    failed = [(result.expectation_config.meta, result) for result in validation.results if not result.success]
    return [Failure(meta["name"], _detail(meta["words"], result)) for meta, result in failed]


def _detail(words: str, result: Any) -> str:
    """The expectation's message, followed by the observed counts or value."""
    found = result.result
    if not found:  # an exception, whose message may quote the data
        return f"{words}: the values could not be checked"
    if count := found.get("unexpected_count"):
        return f"{words}: {count} of {found['element_count']} rows"
    return f"{words}: found {found['observed_value']}"


def _index(docs: Path, results: Mapping[str, Any]) -> str:
    """The index page; Great Expectations' own needs scripts."""
    parts = []
    for name, validation in results.items():
        (page,) = docs.glob(f"validations/{name}/**/*.html")
        held = f"{sum(each.success for each in validation.results)} of {len(validation.results)} expectations hold"
        failed = "".join(f"<li><code>{failure.name}</code>: {escape(failure.detail)}</li>" for failure in _failures(validation))
        parts.append(f'<h2>{name}</h2><p><a href="{page.relative_to(docs).as_posix()}">{held}</a></p><ul>{failed}</ul>')
    head = f'<head>{STANDALONE_HEAD}<meta charset="utf-8"><title>Data docs</title></head>'
    return f'<!DOCTYPE html>\n<html lang="en">{head}<body><h1>Data checks</h1>{"".join(parts)}</body></html>\n'


def _make_self_contained(docs: Path) -> None:
    """Make the pages self-contained: remove images and fonts, and add a content security policy that blocks scripts and requests."""
    shutil.rmtree(docs / "static", ignore_errors=True)
    for page in docs.rglob("*.html"):
        page.write_text(page.read_text(encoding="utf-8").replace("<head>", "<head>" + STANDALONE_HEAD, 1), encoding="utf-8")
