"""Registers a settings section for each training method, named after it."""

from storage.settings import sections_of
from trainers.policy import methods

sections_of(lambda: {row.name: row.settings for row in methods.METHODS})
