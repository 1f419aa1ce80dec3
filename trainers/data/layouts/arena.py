"""Chatbot Arena's votes: two conversations with the same questions, and who won."""

from storage.errors import InputRefused
from trainers.data.layouts.layout import Layout, Record, conversation, needed, of_two
from trainers.data.preference import Preference

_WINNERS = {"model_a": True, "model_b": False, "tie": None}


def read(record: Record) -> Preference:
    """Only votes whose conversations agree up to the last reply can be learnt from; of two bad replies none is preferred."""
    one, other = (conversation(needed(record, name), name) for name in ("conversation_a", "conversation_b"))
    if not one[:-1] or one[:-1] != other[:-1] or {one[-1].role, other[-1].role} != {"assistant"}:
        said = "conversation_a and conversation_b differ before their last reply: the vote compares more than two replies"
        raise InputRefused(said, "conversation_b")
    winner = needed(record, "winner")
    if winner not in _WINNERS:
        raise InputRefused(f"winner is {str(winner)[:40]!r}; only model_a, model_b and tie can be learnt from", "winner")
    return of_two(one[:-1], one[-1].content, other[-1].content, first_preferred=_WINNERS[winner])


LAYOUT = Layout("Chatbot Arena's votes", (("conversation_a", "conversation_b"),), ("conversation_a", "conversation_b", "winner"), read)
