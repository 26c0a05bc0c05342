"""Measured signals: files, stores, sources of samples, statistics and the pipeline."""
