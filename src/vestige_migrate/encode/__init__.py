"""Source rows -> fields of PostgreSQL's binary COPY format, by what the tables say of their columns.

`plain` is the path of nearly all rows and decides nothing; `careful` is for the others. Needs NumPy, whose import takes
0.1 s of CPU: the coordinator of a copy does without this package.
"""
