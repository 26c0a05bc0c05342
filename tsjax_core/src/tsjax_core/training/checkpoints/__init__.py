"""Checkpoints of a training, written and read again."""
