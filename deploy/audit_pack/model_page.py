"""The audit of one version as a printable HTML page: no scripts, nothing loaded, equal bytes for an equal audit."""

from collections.abc import Iterable, Sequence
from html import escape

from deploy.audit_pack.model import GATE_HEADER, ModelAudit, gate_rows, lineage

STYLE = """
body { font: 11pt/1.45 Georgia, serif; color: #111; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; break-after: avoid; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; font-size: 9pt; }
th, td { border: 1px solid #999; padding: .2rem .5rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
@page { size: A4; margin: 18mm; }
@media print { body { margin: 0; max-width: none; padding: 0; } }
"""


def page(found: ModelAudit) -> str:
    """The page."""
    title = f"Audit of model version {found.version.name}"
    checks = found.verification.checks if found.verification is not None else ()
    record = _table(("check", "outcome", "words"), [(check.what, check.outcome, check.words) for check in checks])
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<h2>Lineage</h2>
<p>From recruiters' judgments to the promotion. Long numbers are SHA-256 digests, which name the artifacts.</p>
{_table(("what", "value"), lineage(found))}
<h2>Gates</h2>
<p>What each gate measured, with its interval and the limit that was set before the run.</p>
{_table(GATE_HEADER, gate_rows(found))}
<h2>Record of the promotion</h2>
{record if checks else "<p>There is no record: the version was not promoted, or before records were kept.</p>"}
</body>
</html>
"""


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "\n".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))
