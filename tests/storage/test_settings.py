"""Settings come from three places in order, and a wrong one is one line that says where and what."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field

from storage.errors import ConfigurationError
from storage.settings import Settings


class Serving(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    hosts: tuple[str, ...] = ()


def write(folder: Path, text: str) -> None:
    (folder / "feedbackloop.toml").write_text(text, encoding="utf-8")


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path, {})
    assert settings.common.model == "shipped"
    assert settings.common.bus_url == f"sqlite:///{(Path('.feedbackloop').resolve() / 'bus.sqlite')}"
    assert settings.section("serving", Serving) == Serving()


def test_the_environment_lies_over_dotenv_and_dotenv_over_the_file(tmp_path: Path) -> None:
    write(tmp_path, 'model = "of-the-file"\nartifacts = "of-the-file"\nbus = "sqlite:///of-the-file"\n[serving]\nport = 1\n')
    (tmp_path / ".env").write_text("FEEDBACKLOOP_MODEL=of-dotenv\nFEEDBACKLOOP_ARTIFACTS=of-dotenv\nFEEDBACKLOOP_SERVING__PORT=2\n")
    environ = {"FEEDBACKLOOP_MODEL": "of-the-environment", "FEEDBACKLOOP_SERVING__HOSTS": '["a", "b"]', "OTHER": "x"}
    settings = Settings.read(tmp_path, environ)
    assert (settings.common.model, settings.common.artifacts, settings.common.bus) == (
        "of-the-environment",
        "of-dotenv",
        "sqlite:///of-the-file",
    )
    assert settings.section("serving", Serving) == Serving(port=2, hosts=("a", "b"))


def test_another_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('sources = ["simulation"]\n')
    settings = Settings.read(tmp_path, {"FEEDBACKLOOP_CONFIG": str(tmp_path / "other.toml")})
    assert settings.common.sources == ("simulation",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = ", "mend the file or remove it"),
        ("[serving\nport = 1", "mend the file or remove it"),
        ("[severing]\nport = 1", r"there is no section \[severing\]; the sections are serving, hub"),
        ("modell = 'x'", "modell: Extra inputs"),
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
    with pytest.raises(ConfigurationError, match="mend the file"):
        Settings.read(tmp_path, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [("[serving]\nprot = 1", "prot: Extra inputs"), ("[serving]\nport = 0", "port: "), ("[serving]\nport = 'x'", "port: ")],
)
def test_a_wrong_key_or_value_in_a_section_is_named(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, text)
    settings = Settings.read(tmp_path, {})
    with pytest.raises(ConfigurationError, match=rf"feedbackloop\.toml \[serving\]: {words}"):
        settings.section("serving", Serving)


def test_wrong_variables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no section \[severing\]"):
        Settings.read(tmp_path, {"FEEDBACKLOOP_SEVERING__PORT": "1"})
    with pytest.raises(ConfigurationError, match="looks like JSON"):
        Settings.read(tmp_path, {"FEEDBACKLOOP_SOURCES": "[product"})
    with pytest.raises(ConfigurationError, match="buss: Extra inputs"):
        Settings.read(tmp_path, {"FEEDBACKLOOP_BUSS": "x"})


def test_a_secret_is_not_in_a_complaint(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.read(tmp_path, {"FEEDBACKLOOP_PSEUDONYM_KEY": '["hush-hush"]'})
    assert "hush-hush" not in str(caught.value)


def test_values_laid_over_leave_the_rest(tmp_path: Path) -> None:
    write(tmp_path, 'model = "mine"\n[serving]\nport = 3\n')
    settings = Settings.read(tmp_path, {}).with_values({"sources": ("simulation",)}, serving={"hosts": ("x",)})
    assert (settings.common.model, settings.common.sources) == ("mine", ("simulation",))
    assert settings.section("serving", Serving) == Serving(port=3, hosts=("x",))
    with pytest.raises(ConfigurationError, match="nonsense"):
        settings.with_values({"nonsense": 1})
