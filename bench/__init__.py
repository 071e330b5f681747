"""Benchmarks: each prints its tables, then one line per target."""
