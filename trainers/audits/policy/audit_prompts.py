"""The prompts of the audit of the policy and the axes along which they are varied: the shipped file, or a company's own."""

import hashlib
import string
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.errors import ConfigurationError
from storage.events import Message, problems

Axis = Literal["name", "pronoun", "age", "school", "disability"]
AXES: tuple[Axis, ...] = ("name", "pronoun", "age", "school", "disability")
CueAxis = Literal["pronoun", "age", "school", "disability"]
Text = Annotated[str, Field(min_length=1, max_length=4000)]
LEAST_PROMPTS = 8  # the statistics treat prompts as a sample


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AuditPrompt(_Part):
    """A system message and a question; ``{name}`` stands for the candidate's name."""

    facts: Text
    question: Text

    def messages(self, name: str, cue: str = "") -> tuple[Message, ...]:
        """The prompt of the candidate ``name``, with ``cue`` before the question."""
        question = f"{cue} {self.question}".strip()
        return (
            Message(role="system", content=self.facts.strip().format(name=name)),
            Message(role="user", content=question.format(name=name)),
        )


class Cues(_Part):
    """The two groups of an axis and pairs of texts, for ``reference`` and ``group``, that differ in what they say of the candidate."""

    reference: Text
    group: Text
    cues: tuple[tuple[Text, Text], ...] = Field(min_length=1)


class AuditPrompts(_Part):
    """The content of a file; axes that it leaves out have the shipped cues."""

    axes: dict[CueAxis, Cues] = {}
    prompts: tuple[AuditPrompt, ...] = Field(min_length=LEAST_PROMPTS)


def read_audit_prompts(path: str | None) -> tuple[AuditPrompts, str]:
    """The prompts of the file at ``path``, by default the shipped ones, and the SHA-256 of the file.

    Raises
    ------
    ConfigurationError
        There is no such file, or it has an unknown axis, key or placeholder, or too few prompts.
    """
    shipped = files("trainers.audits.policy").joinpath("audit_prompts.toml").read_bytes()
    if path is None:
        return _parsed(shipped, "audit_prompts.toml"), hashlib.sha256(shipped).hexdigest()
    try:
        own = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"audit_prompts = {path!r} in [evaluation]: the file cannot be read ({error.strerror}); give the path of a TOML file"
        ) from error
    found = _parsed(own, path)
    axes = {**_parsed(shipped, "audit_prompts.toml").axes, **found.axes}
    return found.model_copy(update={"axes": axes}), hashlib.sha256(own).hexdigest()


def _parsed(content: bytes, origin: str) -> AuditPrompts:
    try:
        found = AuditPrompts.model_validate(tomllib.loads(content.decode("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{origin}: not a TOML file: {error}") from error
    except ValidationError as error:
        raise ConfigurationError(
            f"{origin}: {problems(error.errors(include_input=False))}; axes are {', '.join(AXES[1:])} (names are built in), a prompt has "
            f"facts and a question, and at least {LEAST_PROMPTS} prompts are needed"
        ) from error
    texts = [text for prompt in found.prompts for text in (prompt.facts, prompt.question)]
    for text in [*texts, *(text for axis in found.axes.values() for cue in axis.cues for text in cue)]:
        _check_placeholders(text, origin)
    if not all("{name}" in prompt.facts + prompt.question for prompt in found.prompts):
        raise ConfigurationError(f"{origin}: a prompt without {{name}}: put the candidate's name into its facts or its question")
    return found


def _check_placeholders(text: str, origin: str) -> None:
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}
    except ValueError as error:
        raise ConfigurationError(f"{origin}: {text[:80]!r}: {error}; write {{{{ and }}}} for braces") from error
    if fields - {"name"}:
        raise ConfigurationError(f"{origin}: unknown placeholder {{{min(fields - {'name'})}}} in {text[:80]!r}; only {{name}} is filled in")
