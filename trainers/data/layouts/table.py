"""The table of layouts. A new one is a file beside this one and a row here; the first one that matches a record is used."""

from collections.abc import Collection
from fnmatch import fnmatchcase

from trainers.data.layouts import (
    arena,
    argilla,
    chat,
    instructions,
    label_studio,
    openai,
    pku_saferlhf,
    sharegpt,
    shp,
    trl,
    unpaired,
)
from trainers.data.layouts.layout import Layout

LAYOUTS: tuple[Layout, ...] = (
    openai.LAYOUT,
    sharegpt.LAYOUT,
    trl.LAYOUT,
    pku_saferlhf.LAYOUT,
    shp.LAYOUT,
    arena.LAYOUT,
    label_studio.LAYOUT,
    argilla.LAYOUT,
    unpaired.LAYOUT,
    chat.LAYOUT,
    instructions.LAYOUT,
)


def recognised(fields: Collection[str]) -> Layout | None:
    """The layout of records with these fields, ``chosen.from`` standing for ``from`` inside ``chosen``; None if none matches."""
    for layout in LAYOUTS:
        if any(all(any(fnmatchcase(field, pattern) for field in fields) for pattern in patterns) for patterns in layout.known_by):
            return layout
    return None
