"""Compare samplers and pruners on recorded tables of real trainings.

`benchmarks.search.record` makes a table, `benchmarks.search` plays studies on it.
"""
