"""Truncated backpropagation through time: training on long records, chunk by chunk."""
