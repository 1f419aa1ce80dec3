"""Chatbot Arena's votes: two conversations with the same questions, and who won."""

from storage.errors import InputRefused
from trainers.data.layouts.layout import Layout, Record, conversation, of_two, required
from trainers.data.preference import Preference

_WINNERS = {"model_a": True, "model_b": False, "tie": None}


def read(record: Record) -> Preference:
    """The conversations have to agree up to the last reply. "tie (bothbad)" states no preference and is refused."""
    one, other = (conversation(required(record, name), name) for name in ("conversation_a", "conversation_b"))
    if not one[:-1] or one[:-1] != other[:-1] or {one[-1].role, other[-1].role} != {"assistant"}:
        reason = "conversation_a and conversation_b differ before their last reply: the vote compares more than two replies"
        raise InputRefused(reason, "conversation_b")
    winner = required(record, "winner")
    if winner not in _WINNERS:
        raise InputRefused(f"winner is {str(winner)[:40]!r}; only model_a, model_b and tie can be learnt from", "winner")
    return of_two(one[:-1], one[-1].content, other[-1].content, first_preferred=_WINNERS[winner])


LAYOUT = Layout("Chatbot Arena's votes", (("conversation_a", "conversation_b"),), ("conversation_a", "conversation_b", "winner"), read)
