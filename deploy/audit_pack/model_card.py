"""The model card of a version in the Hugging Face Hub's format, built with huggingface-hub."""

from typing import TYPE_CHECKING

from deploy.audit_pack.model import ModelAudit, lineage

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


def card(found: ModelAudit) -> str:
    """``README.md``: metadata with each gate's figure as an evaluation result, then what the model is for and what is known about it."""
    from huggingface_hub import ModelCard, ModelCardData

    event = found.version.evaluated
    base = None if found.report is None or found.report.lineage.base_hash is not None else found.report.base  # only ids are linked
    data = ModelCardData(
        model_name=event.version,
        base_model=base,
        language="en",
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["recruiting", "rlhf", *([found.run.request.method] if found.run.request is not None else [])],
        eval_results=_results(found) or None,
    )
    facts = "\n".join(f"- **{_plain(what)}:** {_plain(value)}" for what, value in lineage(found))
    gates = "\n".join(f"| {gate.name} | {gate.verdict} | {_plain(gate.limit)} | {gate.n} | {_plain(gate.words)} |" for gate in event.gates)
    content = f"""---
{data.to_yaml()}
---

# {event.version}

A LoRA adapter that answers candidates in a recruiting chat. It was trained on recruiters' judgments of pairs of replies and evaluated
against version `{event.champion}`. The figures hold for the recruiters and prompts of this evaluation; other recruiters may differ.

## Intended use

Replies to candidates about interviews, documents and the status of an application. It does not rank or reject candidates.

## Evaluation

| gate | verdict | limit | n | finding |
|---|---|---|---|---|
{gates}

## Lineage

{facts}
"""
    return str(ModelCard(content))


def _results(found: ModelAudit) -> "list[EvalResult]":
    from huggingface_hub import EvalResult

    event = found.version.evaluated
    revision = None if found.run.frozen is None else found.run.frozen.snapshot
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type="recruiter-judgments",
            dataset_name="Recruiters' judgments, evaluation stratum",
            dataset_revision=revision,
            metric_type=gate.name,
            metric_name=f"{gate.name} ({gate.unit})",
            metric_value=gate.figure,
            metric_args={"low": gate.low, "high": gate.high, "n": gate.n, "limit": gate.limit, "verdict": gate.verdict},
        )
        for gate in event.gates
        if gate.figure is not None
    ]


def _plain(text: str) -> str:
    """Text that a person typed, as text in Markdown: no table cells, HTML or line breaks of its own."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
