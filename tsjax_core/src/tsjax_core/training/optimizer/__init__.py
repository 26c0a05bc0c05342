"""Optimizers, and what is built around them."""
