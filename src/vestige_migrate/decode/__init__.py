"""Raw SQLite value -> typed value, or `BadValue` that says what is wrong and what to store instead.

Pure functions, one value at a time: the rules. `wire` applies the same rules to whole columns at once and falls
back to these wherever a value is not plain, so this is the one place that says what a value means.
"""
