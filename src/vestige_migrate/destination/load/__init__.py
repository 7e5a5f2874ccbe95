"""Rows into the tables: a batch at a time, staged where PostgreSQL refuses one, replaced where that was asked for."""
