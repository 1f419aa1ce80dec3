"""The command line: each command reads the settings once and calls the package that does the work.

Heavy imports come after argument parsing, so that ``--help`` and usage errors are answered at once. An expected error ends with one line
and an exit code: 2 if the user can fix it, 75 if it is temporary (a full disk, a busy database, a broker that is not up yet), else 1.
"""

import json
import os
import signal
import sys
import threading
import time
from enum import StrEnum
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.cli.attest import attest
from deploy.cli.audits import audit
from deploy.cli.evaluate import evaluate
from deploy.cli.gates import gates
from deploy.cli.keys import keys
from deploy.cli.log_commands import quarantine, replay, schemas, topics
from deploy.cli.people import people
from deploy.cli.runs import runs
from deploy.cli.sources import Origin
from deploy.endings import print_error, reason_of, run_process
from deploy.own_processes import is_ready, lives, why_not_ready
from deploy.supervisor import PROCESSES, Supervisor
from storage.errors import ConfigurationError, exit_code
from storage.settings import Settings
from streams.addresses import url_of

app = typer.Typer(
    name="feedbackloop",
    help="Keeps a recruiting chatbot learning from the recruiters who use it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(attest, name="attest")
app.add_typer(topics, name="topics")
app.add_typer(quarantine, name="quarantine")
app.add_typer(runs, name="runs")
app.add_typer(audit, name="audit")
app.add_typer(gates, name="gates")
app.add_typer(keys, name="keys")
app.add_typer(people, name="people")
app.command()(evaluate)
app.command()(replay)
app.command()(schemas)


class Until(StrEnum):
    review = "review"
    promoted = "promoted"


class LogKind(StrEnum):
    sqlite = "sqlite"
    kafka = "kafka"


class Format(StrEnum):
    jsonl = "jsonl"
    parquet = "parquet"


STATUS_INTERVAL = 15.0  # seconds between two lines about what 'up' waits for

JSONOption = Annotated[Path | None, typer.Option("--json", help="Write the result as JSON to this file too.")]


def main() -> None:
    """Entry point of ``feedbackloop``."""
    os.umask(0o077)  # files may hold people's messages: readable by their owner only
    try:
        if "LOCAL_RANK" in os.environ:  # several trainers would claim the same run
            raise ConfigurationError("feedbackloop starts a process for each GPU itself: run it without accelerate launch or torchrun")
        app(args=[_expand_home(word) for word in sys.argv[1:]], standalone_mode=True)
    except Exception as error:
        if (reason := reason_of(error)) is None:
            raise
        print_error(reason)
        sys.exit(exit_code(error))


def _expand_home(word: str) -> str:
    """Expand ``~``, which shells leave as it is in ``--out=~/models``."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{os.path.expanduser(value)}"


def _version(asked: bool) -> None:
    if asked:
        _print(f"feedbackloop {version_of('feedbackloop')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def _print(line: str) -> None:
    typer.echo(line)
    sys.stdout.flush()


@app.command("settings")
def show_settings(json_file: JSONOption = None) -> None:
    """Print every effective setting and its origin; secrets are masked."""
    from deploy.cli.effective import as_json, as_toml

    settings = Settings.read()
    _print(as_toml(settings))
    _write_json(json_file, as_json(settings))


# ---- the processes


@app.command()
def up() -> None:
    """Run serving, processor, trainer and hub here, until Ctrl-C."""
    from trainers.models.references import fetch_model

    settings = Settings.read()
    fetch_model(settings.common.model, _print)
    stop = _stop_on_signal()
    with Supervisor(settings, {}, _print) as supervisor:
        _print(f"starting; logs in {supervisor.home / 'logs'}")
        ready = threading.Thread(target=_report_until_ready, args=(supervisor, settings, stop), daemon=True)
        ready.start()
        while not stop.wait(0.2):
            supervisor.check()
        _print("stopping")


def _report_until_ready(supervisor: Supervisor, settings: Settings, stop: threading.Event) -> None:
    """Report the addresses, then every ``STATUS_INTERVAL`` what is not ready, and "ready" when the models are loaded."""
    from access.own import own_client

    urls = {process: url_of(settings, process) for process in PROCESSES}
    while not all(lives(urls[process]) for process in ("serving", "hub")):
        if stop.wait(0.1):
            return
    supervisor.report(f"chat API   {urls['serving']}/v1\ndashboard  {urls['hub']}\nCtrl-C stops everything")
    reported_at = time.monotonic()
    own = {process: own_client(settings, "cli", process) for process in PROCESSES}
    while reasons := {process: reason for process, client in own.items() if (reason := why_not_ready(client))}:
        if time.monotonic() - reported_at > STATUS_INTERVAL:
            reported_at = time.monotonic()
            supervisor.report("not ready yet: " + "; ".join(f"{process}: {reason}" for process, reason in reasons.items()))
        if stop.wait(0.5):
            return
    supervisor.report("ready")


@app.command()
def serving() -> None:
    """Run the chat API alone."""
    run_process("serving.app")


@app.command()
def processor() -> None:
    """Run the stream processor alone: embed, learner, trigger."""
    run_process("streams.processor")


@app.command()
def trainer() -> None:
    """Run a trainer alone: one run at a time."""
    run_process("streams.trainer")


@app.command()
def hub() -> None:
    """Run the hub alone: warehouse, API and dashboard."""
    run_process("dashboard.hub")


def _stop_on_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


# ---- the demo


@app.command()
def demo(
    until: Annotated[
        Until | None, typer.Option(help="Stop when a version awaits review, or when it is promoted and has answered a chat.")
    ] = None,
    json_file: JSONOption = None,
    model: Annotated[
        str | None, typer.Option(help="The language model, by default the configured one; smollm2 has a plan of its own for a CPU.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated world and its recruiters' taste.")] = 0,
    null: Annotated[bool, typer.Option("--null", help="Control: recruiters without any taste. No version should pass.")] = False,
    null_panel: Annotated[
        bool, typer.Option("--null-panel", help="Control: recruiters who share no taste and keep their own; few of them may still agree.")
    ] = False,
    plant: Annotated[bool, typer.Option("--plant", help="Control: recruiters who treat one group of names differently.")] = False,
    drift: Annotated[bool, typer.Option("--drift", help="Control: a taste that changes sign half-way.")] = False,
    bus: Annotated[LogKind, typer.Option(help="kafka: start a broker for the demo (needs a JDK 17 and Maven).")] = LogKind.sqlite,
) -> None:
    """Watch the whole loop learn from simulated people, on this machine."""
    from deploy.cli.summary import as_text
    from deploy.demo import Demo, run

    signal.signal(signal.SIGTERM, _interrupt)
    asked = {"null": null, "null-panel": null_panel, "plant": plant, "drift": drift}
    controls = frozenset(name for name, wanted in asked.items() if wanted)
    options = Demo(model=model, until=until.value if until else None, seed=seed, controls=controls, bus=bus.value)
    summary: dict[str, Any] = {}

    def on_summary(found: dict[str, Any]) -> None:
        summary.update(found)
        _print(as_text(found))
        _write_json(json_file, found)

    try:
        run(options, Settings.read(), _print, on_summary)
    except KeyboardInterrupt:
        _print("stopped")
        return
    if summary["verdict"] != "passed" and summary["may_pass"]:
        raise typer.Exit(1)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


# ---- a running loop


@app.command()
def status(json_file: JSONOption = None) -> None:
    """Counts at every station, the next threshold, and which processes are ready."""
    from deploy.cli.client import get
    from deploy.cli.summary import status_as_text

    settings = Settings.read()
    found = get(settings, "/v1/status")
    ready = {process: is_ready(url_of(settings, process)) for process in PROCESSES}
    _print(status_as_text(found, ready))
    _write_json(json_file, found | {"ready": ready})


@app.command()
def rollback(
    reviewer: Annotated[str, typer.Option(help="Who decides.")],
    reason: Annotated[str, typer.Option(help="Why.")],
) -> None:
    """Withdraw the champion: the previous one serves again."""
    from deploy.cli.client import post

    post(Settings.read(), "/v1/rollback", {"reviewer": reviewer, "reason": reason})
    _print("rolled back; serving swaps within seconds")


@app.command()
def verify(
    json_file: JSONOption = None,
    deep: Annotated[bool, typer.Option("--deep", help="Check the signatures of promotion records and of changes of access too.")] = False,
) -> None:
    """Compare log and warehouse by id and content; exit code 1 if they differ."""
    from deploy.cli.records import verified
    from deploy.cli.summary import differences_as_text

    found = verified(Settings.read(), deep=deep)
    _print(differences_as_text(found))
    _write_json(json_file, found)
    if not found["ok"]:
        raise typer.Exit(1)


# ---- data in and out


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="Preference records {prompt, chosen, rejected, …}: JSONL, gzipped or not, or Parquet.")],
    objective: Annotated[str, typer.Option(help="The question that was answered: overall, helpful, harmless …")] = "overall",
    count: Annotated[bool, typer.Option("--count", help="Let these judgments move the retraining threshold.")] = False,
) -> None:
    """Send preference records through the loop like any other judgments."""
    from deploy.cli.import_progress import import_progress
    from deploy.cli.records import import_records

    settings = Settings.read()
    with import_progress(file) as progress:
        report = import_records(settings, file, objective, count, progress)
    if report.bad.count:
        typer.echo(report.bad.as_text(), err=True)
    _print(f"{report.added} records taken in, {report.present} known already, {report.bad.count} refused; read as {report.layout}")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Output file: .jsonl, .jsonl.gz or .parquet, with TRL's columns prompt, chosen, rejected.")],
    form: Annotated[Format | None, typer.Option("--format", help="Needed if the file has another ending.")] = None,
    source: Annotated[list[Origin] | None, typer.Option(help="Sources to export; all by default.")] = None,
) -> None:
    """Write the judgments as preference records."""
    from deploy.cli.records import export_file, export_form

    chosen = export_form(file, form.value if form else None)
    _print(f"{export_file(Settings.read(), file, chosen, [origin.value for origin in source or ()])} records written to {file}")


@app.command()
def erase(
    candidate: Annotated[str | None, typer.Option(help="The candidate's id, as the product sends it in `user`.")] = None,
    recruiter: Annotated[str | None, typer.Option(help="The recruiter's name, as the product sends it.")] = None,
    conversation: Annotated[str | None, typer.Option(help="A conversation's id, where the product names no candidate.")] = None,
    json_file: JSONOption = None,
) -> None:
    """Erase a person for good: rows deleted, keys of their texts destroyed, judgments out of the reward. The hub has to run."""
    from deploy.cli import erase as erasure

    what, name = erasure.one_of(candidate, recruiter, conversation)
    found = erasure.erase(Settings.read(), what, name)
    for line in erasure.told(found):
        _print(line)
    _write_json(json_file, found)
    if found["plain"]:
        raise typer.Exit(1)


# ---- training without bus or hub


@app.command()
def train(
    phase: Annotated[str | None, typer.Option(help="What to train: reward, sft, dpo, kto, ppo, or all of them.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML or TOML file with these options and with sections of settings.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Records: preferences, for sft demonstrations, for kto ratings; by default the warehouse's judgments."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Folder or id of the language model to train.")] = None,
    kind: Annotated[str | None, typer.Option(help="reward: head (the default), transformer, mixture or ensemble.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for what is trained; by default out.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE overrides a setting; may be repeated.")] = None,
    source: Annotated[
        list[Origin] | None, typer.Option(help="Sources of the warehouse's judgments; by default the configured sources and imports.")
    ] = None,
    swap_sides: Annotated[
        bool, typer.Option("--swap-sides", help="reward: swap A and B everywhere first; the result is the same.")
    ] = False,
    json_file: JSONOption = None,
) -> None:
    """Train one phase, or all, on a file or on the warehouse, without bus or hub."""
    from deploy.cli.run_config import RunConfig
    from deploy.cli.training import ALL, train_all, train_phase
    from trainers.phases import phase as phase_named

    run = RunConfig.read(config, override or ())
    chosen = phase or run.options.get("phase")
    if chosen is None:
        raise ConfigurationError("say what to train: --phase reward, sft, dpo, kto, ppo or all, or phase in the --config file")
    settings = run.applied(Settings.read(), [phase_named(name) for name in (ALL if chosen == "all" else (chosen,))])
    records = data or (Path(run.options["data"]) if "data" in run.options else None)
    base, folder = model or run.options.get("model"), out or Path(run.options.get("out", "out"))
    of_kind = kind or run.options.get("kind", "head")
    if chosen == "all":
        found, text = train_all(settings, records, base, folder, [origin.value for origin in source or ()], _print, of_kind)
    else:
        found, text = train_phase(
            settings, chosen, records, base, folder, [origin.value for origin in source or ()], _print, swap_sides, of_kind
        )
    _print(text)
    _write_json(json_file, found)


def _write_json(file: Path | None, value: Any) -> None:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value, indent=2, default=str) + "\n")
