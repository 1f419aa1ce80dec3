"""Output items of recent responses, for clients that refer to them by id in the next request instead of sending them again."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

MAX_ITEMS = 5_000


class RecentItems:
    """The newest items, in memory: after a restart a client has to send the conversation whole."""

    def __init__(self) -> None:
        self._items: OrderedDict[tuple[str, str], Mapping[str, Any]] = OrderedDict()

    def of(self, caller: str) -> "CallersItems":
        """The items of responses to the caller of this name; others cannot refer to them."""
        return CallersItems(self._items, caller)


class CallersItems:
    """One caller's items among ``items``, which are by caller and id."""

    def __init__(self, items: OrderedDict[tuple[str, str], Mapping[str, Any]], caller: str) -> None:
        self._items, self._caller = items, caller

    def keep(self, items: Iterable[Mapping[str, Any]]) -> None:
        for item in items:
            self._items[self._caller, item["id"]] = item
        while len(self._items) > MAX_ITEMS:
            self._items.popitem(last=False)

    def find(self, item_id: Any) -> Mapping[str, Any] | None:
        return self._items.get((self._caller, item_id)) if isinstance(item_id, str) else None
