"""Temporal convolutional networks: causal dilated convolutions over measured signals."""
