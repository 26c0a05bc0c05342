"""Experiments: from a TOML file to a trained model and its report."""
