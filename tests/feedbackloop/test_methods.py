"""Both clients have the same methods, with the same docs and signatures."""

import inspect

import pytest

from feedbackloop import AsyncClient, Client
from feedbackloop.reply_feedback import AsyncReplyFeedback, ReplyFeedback


@pytest.mark.parametrize(("sync", "asynchronous"), [(Client, AsyncClient), (ReplyFeedback, AsyncReplyFeedback)])
def test_both_clients_have_the_same_methods(sync: type, asynchronous: type) -> None:
    def public(kind: type) -> dict[str, tuple[list[str], str | None]]:
        return {
            name: (list(inspect.signature(method).parameters), inspect.getdoc(method))
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert public(sync) == public(asynchronous)
    assert all(docs for _, docs in public(sync).values())


def test_a_methods_signature_is_that_of_a_method() -> None:
    assert str(inspect.signature(Client.rate)).startswith("(self, /, conversation_id: str | None, thumb: ")
    assert list(inspect.signature(Client().models).parameters) == []
    assert str(inspect.signature(ReplyFeedback.thumb)).startswith("(self, /, thumb: ")
    assert ReplyFeedback.thumb.__name__ == "thumb"


def test_a_client_refuses_a_negative_number_of_retries() -> None:
    with pytest.raises(ValueError, match="retries: -1 is negative"):
        Client(retries=-1)


@pytest.mark.parametrize("url", ["localhost:8000", "127.0.0.1", "ftp://host", "http://"])
def test_a_client_refuses_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not a URL such as http://127\.0\.0\.1:8000"):
        Client(url)
    with pytest.raises(ValueError, match="is not a URL"):
        AsyncClient(hub=url)
