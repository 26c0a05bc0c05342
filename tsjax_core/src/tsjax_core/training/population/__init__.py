"""Many models trained as one program."""
