"""Vestige's portable archive as a source: one JSON document, unpacked into a private file."""
