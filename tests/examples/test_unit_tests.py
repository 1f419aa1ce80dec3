"""What runs the generated code of an example: right and wrong functions, and what is refused or stopped."""

import pytest

from examples.unit_tests import refusal, share_passed

SUMS = [((1, 2), 3), ((0, 5), 5), ((-1, 1), 0), ((2, 2), 4)]


def test_the_share_of_passed_tests_is_counted() -> None:
    assert share_passed("def f(a, b):\n    return a + b", SUMS) == 1
    assert share_passed("def f(a, b):\n    return a * b", SUMS) == 1 / 4
    assert share_passed("def f(a, b):\n    return 7 // a", SUMS) == 0
    assert share_passed("def f(xs):\n    return sorted(x for x in xs if x)", [(([2, 0, 1],), [1, 2])]) == 0  # generators are refused
    assert share_passed("def f(xs):\n    return sorted([x for x in xs if x])", [(([2, 0, 1],), [1, 2])]) == 1
    assert share_passed("def g(a, b):\n    return a + b", SUMS) == 0
    assert share_passed("no code", SUMS) == 0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os", "something beside functions"),
        ("def f(a, b):\n    import os\n    return 1", "Import is not allowed"),
        ("def f(a, b):\n    return ().__class__", "the attribute __class__"),
        ("def f(a, b):\n    return (x for x in a)", "GeneratorExp"),
        ("def f(a, b):\n    return (x for x in a).gi_frame", "the attribute gi_frame"),
        ("def f(a, b):\n    return '{0.__class__}'.format(a)", "the attribute format"),
        ("def f(a, b):\n    return __builtins__", "the name __builtins__"),
        ("def f(a, b):\n    try:\n        return 1\n    except Exception as e:\n        return e", "Try"),
        ("@print\ndef f(a, b):\n    return 1", "decorators"),
        ("def f(a, b):\n    return f'{a}'", "JoinedStr"),
        ("def f(a, b)", "no Python"),
    ],
)
def test_code_of_another_part_of_python_is_refused(code: str, words: str) -> None:
    assert words in str(refusal(code))
    assert share_passed(code, SUMS) == 0


def test_what_has_no_name_or_no_end_or_no_room_only_loses_its_tests() -> None:
    assert refusal("def f(a, b):\n    return open('x', 'w')") is None
    assert share_passed("def f(a, b):\n    return open('x', 'w')", SUMS) == 0
    assert share_passed("def f(a, b):\n    while True:\n        pass", SUMS) == 0
    assert share_passed("def f(a, b):\n    return len([0] * 10**10)", SUMS) == 0
    assert share_passed("def f(a, b):\n    return f(a, b)", SUMS) == 0
