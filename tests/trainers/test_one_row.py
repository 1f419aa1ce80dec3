"""A new training method, audit with its gate, or reward model takes one file and one row, and works everywhere."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dashboard.pages import words
from dashboard.pages.review import evidence, gates
from deploy.cli.main import app
from storage.artifacts import Artifacts
from storage.errors import ConfigurationError
from storage.settings import Settings
from tests.one_row import added, reference
from tests.trainers.conftest import RUN
from trainers.audits import table as audits
from trainers.phases import phases
from trainers.policy import methods
from trainers.reward import table as reward_models
from trainers.reward.model import RewardModel
from trainers.runs.job import Job
from trainers.runs.pipeline import run
from trainers.runs.report import read_report
from trainers.runs.settings import RunSettings

pytestmark = pytest.mark.training

METHOD = '''
"""Makes an adapter that changes nothing."""

from pydantic import BaseModel

from trainers.policy.methods import Method
from trainers.policy.training import Trained


class StillSettings(BaseModel):
    """The section ``[still]``.

    Attributes
    ----------
    rank : of the adapter
    """

    rank: int = 2


def train(training):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    lora = LoraConfig(r=training.settings.rank, target_modules="all-linear")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(training.base), lora)
    model.save_pretrained(training.folder / "policy")
    training.progress(1, 1, {"loss": 0.0})
    return Trained(training.folder / "policy", len(training.preferences), 1, {"loss": 0.0})


METHOD = Method("still", StillSettings, train)
'''

AUDIT = '''
"""Are replies short enough to be read on a telephone?"""

from storage.events import GateResult
from trainers.audits.audit import Audit, Finding, Limits


class Characters(Limits):
    """``most`` for the longest reply.

    Attributes
    ----------
    most : characters
    """

    most: int = 10_000


class Longest(Finding):
    characters: int
    n: int


def measure(trial):
    return Longest(characters=max(map(len, trial.replies.challenger)), n=len(trial.prompts))


def gate(found, limits):
    passed = found.characters <= limits.most
    return GateResult(
        name="brevity", verdict="passed" if passed else "failed", figure=found.characters, low=None, high=None, n=found.n,
        limit=f"at most {limits.most}", unit="characters", words=f"The longest reply has {found.characters} characters.",
    )


def rows(found):
    return [("Longest reply", str(found.characters))]


AUDIT = Audit("brevity", "Are its replies short?", Characters, Longest, measure, gate, rows)
'''

REWARD_MODEL = '''
"""Longer is better."""

import numpy as np
from pydantic import BaseModel

from trainers.reward.online.head import Prediction
from trainers.reward.table import RewardModelKind


class LengthSettings(BaseModel):
    """The section ``[length]``.

    Attributes
    ----------
    unit : characters or words
    """

    unit: str = "characters"


class Length:
    def __init__(self, unit):
        self.about = {"unit": unit}

    def scores(self, items):
        return np.array([len(reply.split() if self.about["unit"] == "words" else reply) for _, reply in items], float)

    def compare(self, first, second):
        mean = self.scores(first) - self.scores(second)
        a = 1 / (1 + np.exp(-mean))
        return Prediction(mean, np.zeros(len(mean)), a, np.zeros(len(mean)), 1 - a)

    def save(self, path):
        path.mkdir(parents=True)
        (path / "length.txt").write_text(self.about["unit"])
        return path


class Fitter:
    def __init__(self, settings, progress):
        self.unit = settings.section("length", LengthSettings).unit

    def fit(self, preferences, folder):
        return Length(self.unit)


KIND = RewardModelKind(
    "length", "length", LengthSettings, Fitter, "length.txt", lambda path, settings: Length((path / "length.txt").read_text()), folds=2
)
'''


def test_a_method_and_an_audit_are_in_pipeline_report_review_page_settings_and_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_settings: Settings, snapshot: Path
) -> None:
    method = added(tmp_path, monkeypatch, "still_method", METHOD).METHOD
    audit = added(tmp_path, monkeypatch, "brevity_audit", AUDIT).AUDIT
    monkeypatch.setattr(methods, "METHODS", (*methods.METHODS, method))
    monkeypatch.setattr(audits, "AUDITS", (*audits.AUDITS, audit))

    settings = run_settings.with_values(still={"rank": 3}, gates={"brevity": {"most": 5}}, retraining={"method": "still"})
    own = RunSettings.read(settings, "still")
    assert "brevity" in own.freeze().required
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    job = Job(RUN, snapshot, settings.common.model, "base", None, 0, RunSettings.of(own.freeze()))
    outcome = run(job, tmp_path / "run", artifacts, lambda *_: None)
    report = read_report(artifacts, outcome.report)
    assert report.settings["still"] == {"rank": 3}
    assert report.training is not None
    assert report.training.metrics == {"loss": 0.0}
    found = report.findings["brevity"]["characters"]
    gate = outcome.gates[-1]
    assert (gate.name, gate.figure, gate.verdict, gate.limit) == ("brevity", found, "passed" if found <= 5 else "failed", "at most 5")

    page = json.dumps([gates.gates(outcome.gates).to_plotly_json(), evidence.replies(report)], default=lambda part: part.to_plotly_json())
    assert words.gate("brevity") == "Are its replies short?"
    for seen in ("Are its replies short?", f"The longest reply has {found} characters.", "at most 5", "Longest reply"):
        assert seen in page

    assert phases()["still"] is method
    settings_page = reference().settings()
    assert "## `[still]`" in settings_page
    assert "| `rank` | `int` | `2` | of the adapter |" in settings_page
    assert "| `brevity.most` | `int` | `10000` | characters |" in settings_page


def test_a_reward_model_is_trained_by_its_name_and_configured_by_its_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = added(tmp_path, monkeypatch, "length_reward", REWARD_MODEL).KIND
    monkeypatch.setattr(reward_models, "REWARD_MODELS", (*reward_models.REWARD_MODELS, kind))
    data = tmp_path / "data.jsonl"
    records = [{"prompt": f"Question {n}?", "chosen": f"a longer reply {n}", "rejected": f"short {n}"} for n in range(60)]
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    monkeypatch.setenv("FEEDBACKLOOP_LENGTH__UNIT", "words")
    monkeypatch.chdir(tmp_path)
    command = ["train", "--phase", "reward", "--kind", "length", "--data", str(data), "--json", str(tmp_path / "found.json")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "60 records train a length: unit words; split by prompt" in done.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["held_out"]["accuracy"]["value"] == found["cross_validated"]["accuracy"]["value"] == 1
    assert RewardModel.load(tmp_path / "out" / "reward").score("?", ["one two three", "one"]).tolist() == [3, 1]
    assert "| `unit` | `str` | `characters` | characters or words |" in reference().settings()
    refused = CliRunner().invoke(app, [*command[:4], "lengthy", *command[5:]])
    assert "there is no kind of reward model 'lengthy'; choose one of head, transformer, mixture, ensemble, length" in str(
        refused.exception
    )


def test_two_rows_with_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "METHODS", (*methods.METHODS, *methods.METHODS))
    with pytest.raises(ConfigurationError, match="two rows of the table of training phases are named 'sft': rename one of them"):
        phases()
