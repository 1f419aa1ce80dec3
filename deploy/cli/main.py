"""The command line: each command reads the settings once and hands on to the room that does the work.

Nothing heavy is imported before a command's arguments have been read, so that ``--help`` and a typing error are answered at once.
What a person can mend ends with one line and exit code 2; what will pass by itself (a full disk, a busy database, a broker that is not up
yet) with 75; what failed otherwise, with one line and exit code 1.
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

from deploy.cli.log_commands import quarantine, replay, schemas, topics
from deploy.endings import complain, reason_of, run_process
from deploy.own_processes import is_ready, lives, url_of, why_not_ready
from deploy.supervisor import PROCESSES, Supervisor
from storage.errors import exit_code
from storage.settings import Settings

app = typer.Typer(
    name="feedbackloop",
    help="Keeps a recruiting chatbot learning from the recruiters who use it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(topics, name="topics")
app.add_typer(quarantine, name="quarantine")
app.command()(replay)
app.command()(schemas)


class Until(StrEnum):
    review = "review"
    promoted = "promoted"


class LogKind(StrEnum):
    sqlite = "sqlite"
    kafka = "kafka"


class Origin(StrEnum):
    product = "product"
    simulation = "simulation"
    imported = "import"
    ai = "ai"


class Format(StrEnum):
    jsonl = "jsonl"
    parquet = "parquet"


SAY_EVERY = 15.0  # seconds between two words about what 'up' waits for

JSONOption = Annotated[Path | None, typer.Option("--json", help="Write the result as JSON to this file too.")]


def main() -> None:
    """Entry point of ``feedbackloop``."""
    os.umask(0o077)  # what is written may hold people's words: for the owner's eyes
    try:
        app(args=[_expanded(word) for word in sys.argv[1:]], standalone_mode=True)
    except Exception as error:
        if (reason := reason_of(error)) is None:
            raise
        complain(reason)
        sys.exit(exit_code(error))


def _expanded(word: str) -> str:
    """``~`` as the shell leaves it in ``--out=~/models``."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{os.path.expanduser(value)}"


def _version(asked: bool) -> None:
    if asked:
        _say(f"feedbackloop {version_of('feedbackloop')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")] = False,
) -> None:
    pass


def _say(line: str) -> None:
    typer.echo(line)
    sys.stdout.flush()


@app.command("settings")
def show_settings(json_file: JSONOption = None) -> None:
    """Print every setting as it holds here, and what set it; secrets are masked."""
    from deploy.cli.effective import as_json, as_toml

    settings = Settings.read()
    _say(as_toml(settings))
    _write_json(json_file, as_json(settings))


# ---- the processes


@app.command()
def up() -> None:
    """Run serving, processor, trainer and hub here, until Ctrl-C."""
    settings = Settings.read()
    stop = _stop_on_signal()
    with Supervisor(settings, {}, _say) as supervisor:
        _say(f"starting; logs in {supervisor.home / 'logs'}")
        ready = threading.Thread(target=_say_when_ready, args=(supervisor, settings, stop), daemon=True)
        ready.start()
        while not stop.wait(0.2):
            supervisor.check()
        _say("stopping")


def _say_when_ready(supervisor: Supervisor, settings: Settings, stop: threading.Event) -> None:
    """First where everything is, then, when the models are loaded, that it can be used; between, now and then what is waited for."""
    urls = {process: url_of(settings, process) for process in PROCESSES}
    while not all(lives(urls[process]) for process in ("serving", "hub")):
        if stop.wait(0.1):
            return
    supervisor.report(f"chat API   {urls['serving']}/v1\ndashboard  {urls['hub']}\nCtrl-C stops everything")
    said_at = time.monotonic()
    while reasons := {process: reason for process, url in urls.items() if (reason := why_not_ready(url))}:
        if time.monotonic() - said_at > SAY_EVERY:
            said_at = time.monotonic()
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
        Until | None, typer.Option(help="Stop when a version awaits review, or when it was promoted and has answered.")
    ] = None,
    json_file: JSONOption = None,
    seed: Annotated[int, typer.Option(help="Of the simulated world; another seed, another taste.")] = 0,
    null: Annotated[bool, typer.Option("--null", help="Control: recruiters without any taste. No version should pass.")] = False,
    plant: Annotated[bool, typer.Option("--plant", help="Control: recruiters who treat one group of names differently.")] = False,
    drift: Annotated[bool, typer.Option("--drift", help="Control: a taste that changes sign half-way.")] = False,
    bus: Annotated[LogKind, typer.Option(help="kafka: on a broker of the demo's own (needs a JDK 17 and Maven).")] = LogKind.sqlite,
) -> None:
    """Watch the whole loop learn from simulated people, on this machine."""
    from deploy.cli.summary import as_text
    from deploy.demo import Demo, run

    signal.signal(signal.SIGTERM, _interrupt)
    controls = frozenset(name for name, asked in (("null", null), ("plant", plant), ("drift", drift)) if asked)
    options = Demo(until=until.value if until else None, seed=seed, controls=controls, bus=bus.value)
    summary: dict[str, Any] = {}

    def on_summary(found: dict[str, Any]) -> None:
        summary.update(found)
        _say(as_text(found))
        _write_json(json_file, found)

    try:
        run(options, Settings.read(), _say, on_summary)
    except KeyboardInterrupt:
        _say("stopped")
        return
    if summary["verdict"] != "passed" and not options.is_control:
        raise typer.Exit(1)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


# ---- looking at a running loop


@app.command()
def status(json_file: JSONOption = None) -> None:
    """Counts at every station, the next threshold, and who is ready."""
    from deploy.cli.client import get
    from deploy.cli.summary import status_as_text

    settings = Settings.read()
    found = get(settings, "/v1/status")
    ready = {process: is_ready(url_of(settings, process)) for process in PROCESSES}
    _say(status_as_text(found, ready))
    _write_json(json_file, found | {"ready": ready})


@app.command()
def runs(json_file: JSONOption = None) -> None:
    """Training runs, the newest first."""
    from deploy.cli.client import get
    from deploy.cli.summary import runs_as_text

    found = get(Settings.read(), "/v1/runs")
    _say(runs_as_text(found["runs"]))
    _write_json(json_file, found)


@app.command()
def rollback(
    reviewer: Annotated[str, typer.Option(help="Who decides it.")],
    reason: Annotated[str, typer.Option(help="Why.")],
) -> None:
    """Withdraw the champion: the one before it serves again."""
    from deploy.cli.client import post

    post(Settings.read(), "/v1/rollback", {"reviewer": reviewer, "reason": reason})
    _say("rolled back; serving swaps within seconds")


@app.command()
def verify(json_file: JSONOption = None) -> None:
    """Compare log and warehouse id by id and content by content; exit code 1 where they differ."""
    from deploy.cli.records import verified
    from deploy.cli.summary import differences_as_text

    found = verified(Settings.read())
    _say(differences_as_text(found))
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
    from deploy.cli.records import imported

    settings = Settings.read()
    with import_progress(file) as progress:
        report = imported(settings, file, objective, count, progress)
    if report.bad.count:
        typer.echo(report.bad.as_text(), err=True)
    _say(f"{report.added} records taken in, {report.present} known already, {report.bad.count} refused; read as {report.layout}")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to: .jsonl, .jsonl.gz or .parquet; TRL's columns prompt, chosen, rejected.")],
    form: Annotated[Format | None, typer.Option("--format", help="For a file with another ending.")] = None,
    source: Annotated[list[Origin] | None, typer.Option(help="Whose judgments; all where absent.")] = None,
) -> None:
    """Write the judgments as preference records."""
    from deploy.cli.records import export_form, exported

    chosen = export_form(file, form.value if form else None)
    _say(f"{exported(Settings.read(), file, chosen, [origin.value for origin in source or ()])} records written to {file}")


# ---- training without bus or hub


@app.command()
def train(
    phase: Annotated[str, typer.Option(help="What to train: reward for a reward model, or a training method such as dpo for a policy.")],
    data: Annotated[Path | None, typer.Option(help="Preference records; the warehouse's judgments where absent.")] = None,
    model: Annotated[str | None, typer.Option(help="Folder or id of the language model (dpo).")] = None,
    out: Annotated[Path, typer.Option(help="Folder for what is trained.")] = Path("out"),
    source: Annotated[
        list[Origin] | None, typer.Option(help="Whose judgments of the warehouse; the settings' sources and imports where absent.")
    ] = None,
    swap_sides: Annotated[
        bool, typer.Option("--swap-sides", help="reward: exchange A and B everywhere first; it prints the same.")
    ] = False,
    json_file: JSONOption = None,
) -> None:
    """Train one phase on a file or on the warehouse, without bus or hub."""
    from deploy.cli.training import trained

    found, text = trained(Settings.read(), phase, data, model, out, [origin.value for origin in source or ()], _say, swap_sides)
    _say(text)
    _write_json(json_file, found)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Preference records: their prompts are answered, their judgments fit the judge.")],
    model: Annotated[str, typer.Option(help="The challenger: a folder with an adapter or a model, or an id.")],
    champion: Annotated[str | None, typer.Option(help="What it is held against; the configured model where absent.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("out"),
    json_file: JSONOption = None,
) -> None:
    """Judge a challenger against a champion on a file, through the same gates as in the loop."""
    from deploy.cli.training import evaluated

    found, text = evaluated(Settings.read(), data, model, champion, out, _say)
    _say(text)
    _write_json(json_file, found)


def _write_json(file: Path | None, value: Any) -> None:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value, indent=2, default=str) + "\n")
