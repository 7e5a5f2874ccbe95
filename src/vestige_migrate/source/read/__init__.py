"""Rows: counted, split into ranges, read in batches or many at a time."""
