"""Autoregressive models: past outputs, measured or predicted, are inputs too."""
