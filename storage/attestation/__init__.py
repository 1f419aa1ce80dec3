"""Signed records of promotions: keys, statement, envelope, and what can be verified offline with a store and public keys."""
