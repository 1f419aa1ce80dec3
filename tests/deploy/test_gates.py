"""``feedbackloop gates simulate``: the table, the JSON, the picture, and errors that say what to change."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.gates_limits import KEYS, with_limits
from deploy.cli.main import app
from storage.errors import ConfigurationError
from storage.settings import Settings
from tests.deploy.test_cli import feedbackloop, one_line
from trainers.audits.simulation.kinds import kinds
from trainers.audits.simulation.report import Simulation
from trainers.audits.simulation.runs import SimulatedLimits

TOML = "[duel]\nbudget = 500\nmin_judgments = 200\n[gates.win_rate]\nleast = 0.54\n"

pytestmark = pytest.mark.processes  # simulates in processes for half a minute


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with settings, and the files and words of one run there."""
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "feedbackloop.toml").write_text(TOML, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = [
            "gates",
            "simulate",
            "--runs",
            "1",
            "--seed",
            "5",
            "--bias",
            "0.5",
            "--limits",
            "duel.budget=400 gates.win_rate.above=0.49",
        ]
        done = CliRunner().invoke(app, [*words, "--json", "found.json", "--picture", "picture.html"], catch_exceptions=False)
    assert done.exit_code == 0
    (folder / "words.txt").write_text(done.stdout, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Simulation:
    return Simulation.model_validate_json((folder / "found.json").read_bytes())


def test_the_limits_are_those_of_the_settings_file_and_the_command_line(found: Simulation) -> None:
    assert (found.limits.duel.min_judgments, found.limits.duel.budget) == (200, 400)
    assert (found.limits.win_rate.least, found.limits.win_rate.above) == (0.54, 0.49)


def test_the_json_holds_every_kind_and_the_four_figures(found: Simulation) -> None:
    assert [kind.name for kind in found.kinds] == [kind.name for kind in kinds()]
    assert (found.seed, found.runs) == (5, 1)
    assert {"null", "panel_null", "worse_40", "careless"} == set(found.summary.false_promotion)
    assert {"better_55", "better_60", "better_70"} == set(found.summary.missed_improvement)
    assert {"biased"} == set(found.summary.missed_bias)
    assert {"better_60", "better_70"} <= set(found.summary.judgments_needed)
    assert all(kind.duel.won.n == 40 for kind in found.kinds)
    assert [point.win_rate for point in found.curve] == sorted(point.win_rate for point in found.curve)


def test_null_challengers_rarely_win_good_ones_often_and_biased_ones_are_stopped(found: Simulation) -> None:
    by_name = {kind.name: kind for kind in found.kinds}
    assert by_name["null"].duel.won.figure <= 0.15  # of 40 at 5% each: more has a probability of 1%
    assert by_name["panel_null"].duel.won.figure <= 0.15
    assert by_name["worse_40"].promoted.figure == 0
    assert by_name["better_70"].duel.won.figure >= 0.95
    assert by_name["better_60"].duel.won.figure >= 0.8
    assert by_name["biased"].group_win_rate == pytest.approx(0.1)
    assert by_name["biased"].duel.harm.figure >= 0.9  # nobody wins before 200 judgments, and harm is seen by then
    assert by_name["better_60"].duel.harm.figure <= 0.15
    assert by_name["careless"].gates["facts"]["failed"] == 1


def test_the_table_has_the_four_figures_in_words(folder: Path, found: Simulation) -> None:
    words = (folder / "words.txt").read_text(encoding="utf-8")
    for name in ("false promotion", "missed improvement", "missed bias", "judgments needed"):
        assert name in words
    assert all(kind.name in words for kind in found.kinds)
    assert max(map(len, words.splitlines())) <= 160


class References(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href", "data", "action")]


def test_the_picture_is_one_file_that_loads_nothing(folder: Path) -> None:
    page = (folder / "picture.html").read_text(encoding="utf-8")
    parser = References()
    parser.feed(page)
    assert parser.found == []
    assert "Plotly.newPlot" in page
    for name in ("stopped for harm", "is promoted: both", "a test of fixed size"):
        assert name in page


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("duel.alhpa=0.01", "[duel] has no such limit; its keys are required, alpha, least"),
        ("gates.win_rate.lest=0.6", "[gates.win_rate] has no such limit; its keys are least, above"),
        ("gates.lenght.least=0.6", "the sections are evaluation, gates.win_rate"),
        ("alpha=0.01", "write it like duel.alpha=0.01"),
        ("duel.alpha", "write it like duel.alpha=0.01"),
        ("duel.alpha=low", "low is neither a number nor a list"),
        ("duel.alpha=2", "--limits duel.alpha: Input should be less than 1"),
        ("gates.win_rate.least=2", "--limits gates.win_rate.least: Input should be less than or equal to 1"),
    ],
)
def test_a_wrong_limit_is_named_with_what_is_possible(word: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        SimulatedLimits.read(with_limits(Settings.read(tmp_path, {}), [word]))
    assert said in str(error.value)


def test_every_key_that_can_be_given_exists_in_its_section(tmp_path: Path) -> None:
    for section, keys in KEYS.items():
        top, _, gate = section.partition(".")
        limits = SimulatedLimits.read(with_limits(Settings.read(tmp_path, {}), []))
        assert set(keys) <= set(type(getattr(limits, gate or top)).model_fields)


def test_a_list_is_a_limit_too(tmp_path: Path) -> None:
    changed = with_limits(Settings.read(tmp_path, {}), ["duel.canary=[0.1,0.3]", "duel.required=true evaluation.prompts=900"])
    limits = SimulatedLimits.read(changed)
    assert (limits.duel.canary, limits.duel.required, limits.evaluation.prompts) == ((0.1, 0.3), True, 900)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--picture", "picture.png"), "end its name with .html"),
        (("--json", "nowhere/found.json"), "there is no such folder"),
        (("--bias", "0.7"), "choose a smaller one"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        CliRunner().invoke(app, ["gates", "simulate", *words], catch_exceptions=False)
    assert said in str(error.value)


@pytest.mark.processes
def test_an_unknown_limit_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = feedbackloop(tmp_path, "gates", "simulate", "--limits", "duel.alhpa=0.01")
    assert done.returncode == 2
    assert "its keys are" in one_line(done.stderr)
