"""Whether a model is valid: tests of what it leaves unexplained."""
