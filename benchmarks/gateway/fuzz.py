"""Do the servers keep to their OpenAPI documents? Requests made from both documents by schemathesis, all checks, real processes, in the
required mode: one check is that no request is answered without its API key.

This file is also schemathesis' file of hooks: requests name a model that is served, so that they reach it, and a refusal of a request that
fits its schema is no failure where it applies one of the rules in ``UNSTATED``.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import Case, Response
from schemathesis.checks import CheckContext
from schemathesis.core.failures import Failure
from schemathesis.hooks import HookContext
from schemathesis.openapi.checks import RejectedPositiveData
from schemathesis.specs.openapi.checks import positive_data_acceptance

from access.keys import SCOPES
from benchmarks.figures import Figure
from benchmarks.processes import Process, api_key, on_log

CASES, QUICK_CASES = 5_000, 200
EXAMPLES, QUICK_EXAMPLES = 20, 3  # for each operation in a round
ENDLESS = "/v1/live"  # a stream that never ends; its tests are in tests/dashboard
MODELS = {"/v1/embeddings": "embedding", "/v1/rerank": "reward"}  # other paths: the champion
# Rules that no JSON schema can state: the field by which an operation refuses a request that fits its schema, and why; 0 is any item.
KEY_REUSED = "idempotency_key_reused"
SEALED = "text begins with U+0002"  # in any text; the events' schemas, where it marks a sealed text, are frozen
UNREADABLE = "without a visible character, or of letters of two scripts"
UNNAMED = "not named, by a caller who may speak for more than one recruiter"
CAPPED = "of a pair that as many recruiters have judged as may, or this one as often as may be"
UNSTATED: dict[str, dict[str, str]] = {
    "POST /v1/chat/completions": {
        "messages": "without any text, or with more tokens than the model has room for",
        "messages.0.content": "a control token of the model's template, or an image where the model reads text",
        "response_format": "JSON, of a local model",
        "tool_choice": "a tool that must be called, of a local model",
        "modalities": "audio",
    },
    "POST /v1/completions": {"prompt": "without any text, or with more tokens than the model has room for"},
    "POST /v1/responses": {
        "input": "without any text, of unknown items, or with more tokens than the model has room for",
        "text.format": "JSON, of a local model",
        "tool_choice": "a tool that must be called, of a local model",
    },
    "POST /v1/embeddings": {"input": "a text of spaces", "dimensions": "another number than the model's"},
    "POST /v1/feedback": {
        "score": "outside its scale",
        "scale": "whose ends are the wrong way round",
        "edited": "the text of the original",
        "prompt": "the characters of all messages together",
        "pair_id": CAPPED,
        "recruiter": UNREADABLE,
    },
    "POST /v1/judgments": {"pair_id": CAPPED, "recruiter": UNNAMED},
    "GET /v1/queue": {"recruiter": UNNAMED},
    "POST /v1/queue/renew": {"recruiter": UNNAMED},
    "POST /v1/queue/release": {"recruiter": UNNAMED},
    "POST /v1/pairs": {"responses.0": "the same text, with other spaces", "prompt": "the characters of all messages together"},
    "POST /v1/outcomes": {"outcome.decided_at": "in the future"},
    "POST /v1/rollback": {"reviewer": "invisible characters, by which a name looks like another"},
    "POST /v1/chat": {"messages": "more tokens than the model has room for"},
    "POST /v1/widget-tokens": {"origin": "not in [access] widget_origins"},
    "GET /v1/fairness/impact-ratios": {"to": "before the first day"},
    "GET /v1/fairness/impact-ratios.csv": {"to": "before the first day"},
}


def figures(quick: bool) -> Sequence[Figure]:
    """Rounds with another seed each until there are enough cases; failures are counted once for each operation and kind of failure."""
    found: Counter[str] = Counter()
    cases = rounds = 0
    with tempfile.TemporaryDirectory() as name:
        required = {"mode": "required", "requests_per_minute": 1_000_000}
        settings = on_log(Path(name)).with_values(serving={"max_tokens": 8}, access=required)
        key = api_key(settings, *SCOPES)
        with Process("serving", settings) as serving:
            with Process("hub", settings.with_values(hub={"serving_url": serving.url})) as hub:
                while cases < (QUICK_CASES if quick else CASES):
                    rounds += 1
                    for url in (serving.url, hub.url):
                        report = fuzzed(url, key, Path(name), rounds, quick)
                        cases += report["test_cases"]["generated"]
                        found.update({each["type"]: each["count"] for each in report["failures"]})
                        found.update({each["title"]: each["count"] for each in report["errors"]})
    failed = found.pop("ServerError", 0)
    about = f"kinds of failure in {cases:,} cases"
    return [
        Figure("fuzz_5xx", failed, None, None, about, "==0"),
        Figure("fuzz_undocumented", found.total(), None, None, about, "==0"),
    ]


def fuzzed(url: str, key: str, folder: Path, seed: int, quick: bool) -> dict[str, Any]:
    """One round against the server at ``url``: the report of schemathesis, which tells on stderr of what it has found."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", f"--seed={seed}", "--no-color"),
        *("--checks=all", "--exclude-checks=positive_data_acceptance", "--suppress-health-check=all", "--request-timeout=60"),
        *(f"--max-examples={QUICK_EXAMPLES if quick else EXAMPLES}", f"--exclude-path={ENDLESS}", "--no-shrink"),
        f"--header=Authorization: Bearer {key}",
        *("--generation-database=none", "--warnings=off", "--report=json", f"--report-json-path={report}"),
        *(["--phases=fuzzing"] if quick else []),
    ]
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"SCHEMATHESIS_HOOKS": __name__, "PYTHONPATH": path}
    ran = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if not report.exists():
        raise RuntimeError(f"schemathesis ended with {ran.returncode}: {ran.stdout[-2000:]}")
    loaded: dict[str, Any] = json.loads(report.read_bytes())
    if loaded["failures"] or loaded["errors"]:
        sys.stderr.write(ran.stdout)
    return loaded


@schemathesis.hook
def map_body(context: HookContext, body: Any) -> Any:
    """Ask a model that exists, where the request names one in the right form."""
    name = body.get("model") if isinstance(body, dict) else None
    if context.operation is None or not isinstance(name, str) or not re.fullmatch(r"[^\x00-\x1f]{1,200}", name) or not name.strip():
        return body
    return body | {"model": MODELS.get(context.operation.path, "champion")}


@schemathesis.check
def schema_valid_data_is_accepted(ctx: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """The check ``positive_data_acceptance``, apart from the rules that no schema can state."""
    try:
        return positive_data_acceptance(ctx, response, case)
    except Failure as failure:
        if isinstance(failure, RejectedPositiveData) and response.status_code in (400, 422):
            refusal = response.json()["error"]
            field = re.sub(r"\.\d+", ".0", refusal["param"] or "")
            everywhere = refusal["code"] == KEY_REUSED or SEALED in refusal["message"]
            if everywhere or field in UNSTATED.get(case.operation.label, ()):
                return None
        raise
