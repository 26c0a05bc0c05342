"""Training by Gauss-Newton steps on whole records, for small models."""
