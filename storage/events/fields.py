"""Field types of events (texts, names, hashes, times), with the limits that every entry point enforces."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, StringConstraints, WithJsonSchema
from pydantic_core import PydanticKnownError, core_schema

from storage.events.tokens import checked_token, is_sealed

Source = Literal["product", "simulation", "import", "ai"]
Stratum = Literal["training", "evaluation"]
Choice = Literal["A", "B", "tie", "neither", "skip"]
Side = Literal["A", "B"]
Verdict = Literal["passed", "failed", "insufficient"]

MAX_TEXT = 65_536  # characters; far above any chat message, and small enough for the encoder and the pages
MAX_TOKEN = 349_600  # characters of base64 for as many characters of four bytes
MAX_NAME = 200
MAX_GROUP_TOKEN = 2_000


def _storable(text: str) -> str:
    if is_sealed(text):
        return checked_token(text)
    if len(text) > MAX_TEXT:
        raise PydanticKnownError("string_too_long", {"max_length": MAX_TEXT})
    if "\0" in text:
        raise ValueError("text contains NUL")  # DuckDB and most clients truncate or refuse it
    return text


def _group(text: str) -> str:
    if is_sealed(text):
        return checked_token(text)
    if len(text) > MAX_NAME:
        raise PydanticKnownError("string_too_long", {"max_length": MAX_NAME})
    return text


# A single pattern, as in the JSON schema, would be equivalent but takes three times as long on a line of text.
Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_TOKEN, pattern=r"^\s*[^\s\x00]"),
    AfterValidator(_storable),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "pattern": r"^[^\x00]*[^\s\x00][^\x00]*$"}),
]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME, pattern=r"^[^\x00-\x1f]*$")]
Group = Annotated[  # a name, which may be sealed
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_GROUP_TOKEN, pattern=r"^\x02?[^\x00-\x1f]*$"),
    AfterValidator(_group),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": r"^[^\x00-\x1f]*$"}),
]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{moment} lies outside the years 1 to 9999 in UTC") from error


class _InUTC:
    """An aware datetime, converted to UTC. Times in UTC, nearly all, are validated by pydantic alone; only others call into Python."""

    @staticmethod
    def __get_pydantic_core_schema__(source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        other = core_schema.no_info_after_validator_function(_utc, core_schema.datetime_schema(tz_constraint="aware"))
        return core_schema.union_schema(
            [core_schema.datetime_schema(tz_constraint=0), other],
            mode="left_to_right",
            custom_error_type="moment",
            custom_error_message="not a time with its offset from UTC, such as 2026-01-31T12:00:00Z, within the years 1 to 9999",
        )


Moment = Annotated[datetime, _InUTC]
