"""Models of dynamic systems, and the parts that they are built from."""
