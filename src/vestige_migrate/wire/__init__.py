"""Typed values -> PostgreSQL's binary COPY format.

`field` writes one value; `column` writes a whole batch's column at once, the same bytes by faster means; `batch`
joins columns to rows. Facts of the format: https://www.postgresql.org/docs/18/sql-copy.html (Binary Format) and
each type's `_recv` function.
"""
