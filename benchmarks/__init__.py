"""Measurements of tsjax against its peers: `python -m benchmarks`."""
