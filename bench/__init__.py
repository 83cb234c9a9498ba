"""Benchmarks against peers: each prints a table and writes JSON. See docs/benchmarks.md."""
