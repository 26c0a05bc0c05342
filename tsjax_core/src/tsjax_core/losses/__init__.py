"""Losses and metrics, and how they combine."""
