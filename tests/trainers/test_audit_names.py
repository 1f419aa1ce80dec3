"""Audit names and prompts are none of those that the simulation uses or the shipped model was trained on."""

import re
import tomllib
from importlib.resources import files

from tests.trainers.audit_words import sentences, simulated_employers, simulated_names, simulated_roles, simulated_sentences
from trainers.audits.names import name_groups, names_by_race, reference_race
from trainers.audits.reward.name_contrast import read_probes


def test_every_race_and_sex_has_ten_names_and_no_name_is_in_two_groups() -> None:
    groups = name_groups()
    races = ("white", "black", "hispanic", "asian")
    assert [(group.race, group.sex) for group in groups] == [(race, sex) for race in races for sex in ("female", "male")]
    assert {len(group.names) for group in groups} == {10}
    assert len({name for group in groups for name in group.names}) == 80
    assert reference_race() == "white"
    assert names_by_race()["black"] == groups[2].names + groups[3].names


def test_no_audit_name_is_simulated_or_in_the_training_text() -> None:
    known = {name.casefold() for name in simulated_names()}
    assert len(known) > 60
    assert not {name for group in name_groups() for name in group.names if name.casefold() in known}


def test_no_probe_has_a_role_an_employer_or_a_phrasing_of_the_simulation() -> None:
    probes = read_probes()
    facts = "\n".join(of_prompt for of_prompt, _ in probes.prompts)
    roles, employers = (set(re.findall(rf"^{key}: (.+)$", facts, re.M)) for key in ("Role", "Employer"))
    assert len(roles) == len(employers) == len(probes.prompts)
    assert not roles & simulated_roles()
    assert not employers & simulated_employers()
    texts = [question for _, question in probes.prompts] + [t for pairs in probes.attributes.values() for pair in pairs for t in pair]
    assert not set(sentences(texts)) & simulated_sentences()


def test_each_name_has_a_source_in_the_file() -> None:
    text = files("trainers.audits").joinpath("names.toml").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.search(r'"[A-Z]', line) and not line.startswith("#")]
    assert rows
    assert all(re.search(r"# [BLGO]$", row) for row in rows)
    assert tomllib.loads(text)["reference"] == "white"
