"""Settings have three sources in order of precedence, and an error is one line that says where and what."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from storage.errors import ConfigurationError
from storage.places import shown
from storage.settings import Settings, sections, sections_of
from streams.bus.kafka_settings import KafkaSettings
from trainers.features.settings import FeatureSettings


class Serving(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    hosts: tuple[str, ...] = ()
    password: SecretStr = SecretStr("")


class Training(BaseModel):
    modules: str | tuple[str, ...] = ""
    sides: tuple[str, ...] = ()


SECTIONS = {"dpo": Training, "features": FeatureSettings, "kafka": KafkaSettings, "serving": Serving}


@pytest.fixture(autouse=True)
def _declared_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.settings.sections", lambda: SECTIONS)


def write(folder: Path, text: str) -> None:
    (folder / "feedbackloop.toml").write_text(text, encoding="utf-8")


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path, {})
    assert settings.common.model == "shipped"
    assert settings.common.bus_url == f"sqlite:///{(Path('.feedbackloop').resolve() / 'bus.sqlite')}"
    assert settings.section("serving", Serving) == Serving()


def test_the_environment_overrides_dotenv_and_dotenv_overrides_the_file(tmp_path: Path) -> None:
    write(tmp_path, 'model = "of-the-file"\nartifacts = "of-the-file"\nbus = "sqlite:///of-the-file"\n[serving]\nport = 1\n')
    (tmp_path / ".env").write_text("FEEDBACKLOOP_MODEL=of-dotenv\nFEEDBACKLOOP_ARTIFACTS=of-dotenv\nFEEDBACKLOOP_SERVING__PORT=2\n")
    environ = {"FEEDBACKLOOP_MODEL": "of-the-environment", "FEEDBACKLOOP_SERVING__HOSTS": '["a", "b"]', "OTHER": "x"}
    settings = Settings.read(tmp_path, environ)
    assert (settings.common.model, settings.common.artifacts, settings.common.bus) == (
        "of-the-environment",
        str(Path("of-dotenv").absolute()),
        f"sqlite:///{Path('of-the-file').absolute()}",
    )
    assert settings.section("serving", Serving) == Serving(port=2, hosts=("a", "b"))


def test_another_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('sources = ["simulation"]\n')
    settings = Settings.read(tmp_path, {"FEEDBACKLOOP_CONFIG": str(tmp_path / "other.toml")})
    assert settings.common.sources == ("simulation",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = ", "fix the file or remove it"),
        ("[serving\nport = 1", "fix the file or remove it"),
        ("[severing]\nport = 1", r"there is no section \[severing\]; the sections are dpo, features"),
        ("modell = 'x'", "modell: no such setting; do you mean model"),
        ("sources = []", "sources: "),
        ("sources = ['everyone']", "sources.0: "),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_the_fault(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=rf"feedbackloop\.toml: .*{words}"):
        Settings.read(tmp_path, {})


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "feedbackloop.toml").write_bytes(b'model = "\xff"')
    with pytest.raises(ConfigurationError, match="fix the file"):
        Settings.read(tmp_path, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[serving]\nprot = 1", "prot: no such setting; do you mean port"),
        ("[serving]\nport = 0", "port: "),
        ("[serving]\nport = 'x'", "port: "),
    ],
)
def test_a_wrong_key_or_value_in_a_section_is_named(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, text)
    settings = Settings.read(tmp_path, {})
    with pytest.raises(ConfigurationError, match=rf"feedbackloop\.toml \[serving\]: {words}"):
        settings.section("serving", Serving)


def test_wrong_variables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no section \[severing\]"):
        Settings.read(tmp_path, {"FEEDBACKLOOP_SEVERING__PORT": "1"})
    with pytest.raises(ConfigurationError, match="FEEDBACKLOOP_SOURCES: not JSON; write it like"):
        Settings.read(tmp_path, {"FEEDBACKLOOP_SOURCES": "[product"})
    with pytest.raises(ConfigurationError, match="FEEDBACKLOOP_BUSS: there is no such setting; the top-level ones are home, bus"):
        Settings.read(tmp_path, {"FEEDBACKLOOP_BUSS": "x"})


def test_a_field_that_takes_a_text_or_a_list_takes_both(tmp_path: Path) -> None:
    (tmp_path / "feedbackloop.toml").write_text('[dpo]\nmodules = "all"\nsides = ["a"]')
    assert Settings.read(tmp_path, {}).section("dpo", Training) == Training(modules="all", sides=("a",))
    given = Settings.read(tmp_path, {"FEEDBACKLOOP_DPO__MODULES": "some", "FEEDBACKLOOP_DPO__SIDES": '["b"]'})
    assert given.section("dpo", Training) == Training(modules="some", sides=("b",))


@pytest.mark.parametrize("secret", ["[hush-hush", '["hush-hush"]', "{hush-hush", "[]"])
def test_a_secret_may_begin_like_json(tmp_path: Path, secret: str) -> None:
    settings = Settings.read(tmp_path, {"FEEDBACKLOOP_PSEUDONYM_KEY": secret, "FEEDBACKLOOP_SERVING__PASSWORD": secret})
    assert settings.common.pseudonym_key.get_secret_value() == secret
    assert settings.section("serving", Serving).password.get_secret_value() == secret


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FEEDBACKLOOP_SOURCES", "hush-hush"),
        ("FEEDBACKLOOP_SOURCES", '["hush-hush"]'),
        ("FEEDBACKLOOP_SOURCES", "[hush-hush"),
        ("FEEDBACKLOOP_HUSH", "hush-hush"),
        ("FEEDBACKLOOP_HOME", "~hush-hush/x"),
        ("FEEDBACKLOOP_SERVING__PORT", "hush-hush"),
        ("FEEDBACKLOOP_SERVING__HOSTS", "{hush-hush"),
        ("FEEDBACKLOOP_SERVING__HOSTS", '{"hush-hush": 1}'),
        ("FEEDBACKLOOP_SERVING__PASSWORDS", "hush-hush"),
    ],
)
@pytest.mark.parametrize("place", ["environment", "dotenv"])
def test_an_error_names_the_variable_and_never_its_value(tmp_path: Path, variable: str, value: str, place: str) -> None:
    if place == "dotenv":
        (tmp_path / ".env").write_text(f"{variable}='{value}'\n")
    with pytest.raises(ConfigurationError) as caught:
        Settings.read(tmp_path, {variable: value} if place == "environment" else {}).section("serving", Serving)
    assert variable in str(caught.value)
    assert "hush-hush" not in str(caught.value)
    assert caught.value.__cause__ is None, "a log that shows the cause would show the value"


def test_an_error_never_repeats_a_value_from_the_file(tmp_path: Path) -> None:
    write(tmp_path, '[serving]\nport = "hush-hush"\npassword = 5\n')
    with pytest.raises(
        ConfigurationError, match=r"feedbackloop\.toml \[serving\]: port: .*feedbackloop\.toml \[serving\]: password: "
    ) as caught:
        Settings.read(tmp_path, {}).section("serving", Serving)
    assert "hush-hush" not in str(caught.value)


def test_an_empty_variable_sets_nothing(tmp_path: Path) -> None:
    write(tmp_path, 'model = "of-the-file"\n[serving]\nport = 7\n')
    (tmp_path / ".env").write_text("FEEDBACKLOOP_SERVING__PORT=8\nFEEDBACKLOOP_MODEL=\n")
    empty = dict.fromkeys(
        ("MODEL", "HOME", "SOURCES", "CONFIG", "PSEUDONYM_KEY", "SERVING__PORT", "SERVING__HOSTS", "SERVING__PASSWORD"), ""
    )
    settings = Settings.read(tmp_path, {f"FEEDBACKLOOP_{name}": value for name, value in empty.items()})
    assert settings.common == Settings.read(tmp_path, {}).common
    assert settings.common.model == "of-the-file"
    assert settings.section("serving", Serving) == Serving(port=8)


def test_a_settings_file_that_is_named_and_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"FEEDBACKLOOP_CONFIG names .*other\.toml, and there is no such file"):
        Settings.read(tmp_path, {"FEEDBACKLOOP_CONFIG": str(tmp_path / "other.toml")})


@pytest.mark.parametrize("place", ["environment", "dotenv", "file"])
def test_every_path_is_made_absolute_when_the_settings_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path)
    values = {
        "HOME": "~/fl",
        "BUS": "sqlite:///~/log.sqlite",
        "ARTIFACTS": "models",
        "MODEL": "~/model",
        "KAFKA__CAFILE": "~/ca.pem",
        "FEATURES__WHITENING": "~/w.safetensors",
        "FEATURES__ENCODER": "encoder",
    }
    environ = {f"FEEDBACKLOOP_{name}": value for name, value in values.items()}
    if place == "dotenv":
        (tmp_path / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in environ.items()))
    if place == "file":
        common = "".join(f'{name.lower()} = "{value}"\n' for name, value in values.items() if "__" not in name)
        write(tmp_path, f'{common}[kafka]\ncafile = "~/ca.pem"\n[features]\nwhitening = "~/w.safetensors"\nencoder = "encoder"\n')
    settings = Settings.read(tmp_path, environ if place == "environment" else {})
    me = tmp_path / "me"
    assert settings.common.home == me / "fl"
    assert settings.common.bus_url == f"sqlite:///{me / 'log.sqlite'}"
    assert settings.common.artifacts_url == str(tmp_path / "models")
    assert settings.common.model == str(me / "model")
    assert settings.section("kafka", KafkaSettings).cafile == str(me / "ca.pem")
    features = settings.section("features", FeatureSettings)
    assert (features.whitening, features.encoder) == (me / "w.safetensors", tmp_path / "encoder")


@pytest.mark.parametrize("url", ["s3://bucket/models", "memory://x", "kafka://broker:9092"])
def test_a_url_stays_as_it_is(tmp_path: Path, url: str) -> None:
    assert Settings.read(tmp_path, {"FEEDBACKLOOP_ARTIFACTS": url, "FEEDBACKLOOP_BUS": url}).common.artifacts_url == url


def test_the_name_of_a_model_stays_as_it_is(tmp_path: Path) -> None:
    assert Settings.read(tmp_path, {"FEEDBACKLOOP_MODEL": "someone/their-model"}).common.model == "someone/their-model"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://key:hush@bucket/models?token=hush", "s3://bucket/models"),
        ("kafka://ana:hush@a:9092,ana:hush@b:9092", "kafka://b:9092"),
        ("/plain/folder", "/plain/folder"),
    ],
)
def test_a_url_is_shown_without_the_credentials_in_it(url: str, words: str) -> None:
    assert shown(url) == words


def test_overriding_some_values_keeps_the_others(tmp_path: Path) -> None:
    write(tmp_path, 'model = "mine"\n[serving]\nport = 3\n')
    settings = Settings.read(tmp_path, {}).with_values({"sources": ("simulation",)}, serving={"hosts": ("x",)})
    assert (settings.common.model, settings.common.sources) == ("mine", ("simulation",))
    assert settings.section("serving", Serving) == Serving(port=3, hosts=("x",))
    with pytest.raises(ConfigurationError, match="nonsense"):
        settings.with_values({"nonsense": 1})


def test_every_section_is_found_beside_its_code() -> None:
    found = sections()
    assert {"dpo", "evaluation", "features", "feedback", "gates", "hub", "kafka", "learning", "retraining", "serving"} <= found.keys()
    assert (found["kafka"], found["features"]) == (KafkaSettings, FeatureSettings)


def test_two_sections_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.settings._DECLARED", [])
    sections_of(lambda: {"serving": Serving})
    sections_of(lambda: {"serving": Training})
    with pytest.raises(ConfigurationError, match=r"two sections of the settings are named \[serving\]: Serving and Training"):
        sections()


def test_each_effective_setting_says_what_set_it(tmp_path: Path) -> None:
    write(tmp_path, 'model = "mine"\n[serving]\nport = 3\n')
    settings = Settings.read(tmp_path, {"FEEDBACKLOOP_SERVING__HOSTS": '["a"]', "FEEDBACKLOOP_SOURCES": '["simulation"]'})
    origins = {(each.section, each.key): (each.value, each.origin) for each in settings.effective()}
    file = str(tmp_path / "feedbackloop.toml")
    assert origins["", "model"] == ("mine", file)
    assert origins["", "sources"] == (("simulation",), "FEEDBACKLOOP_SOURCES")
    assert origins["", "bus"] == ("", "default")
    assert origins["serving", "port"] == (3, file)
    assert origins["serving", "hosts"] == (("a",), "FEEDBACKLOOP_SERVING__HOSTS")
    assert origins["dpo", "modules"] == ("", "default")
