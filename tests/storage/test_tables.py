"""Rows of a table have unique names, and are looked up by them."""

from typing import NamedTuple

import pytest

from storage.errors import ConfigurationError
from storage.tables import by_name, row_named


class Row(NamedTuple):
    name: str
    number: int


ROWS = (Row("dpo", 1), Row("ppo", 2))


def test_rows_are_found_by_name_in_the_order_of_the_table() -> None:
    assert list(by_name("training method", ROWS)) == ["dpo", "ppo"]
    assert row_named("ppo", "training method", ROWS).number == 2


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigurationError, match="there is no training method 'kto'; choose one of dpo, ppo"):
        row_named("kto", "training method", ROWS)


def test_two_rows_with_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="two rows of the table of training methods are named 'dpo': rename one of them"):
        by_name("training method", (*ROWS, Row("dpo", 3)))
