"""Promotion records in the loop: made by the hub before it promotes, verified by serving before it serves and by ``attest verify``."""
