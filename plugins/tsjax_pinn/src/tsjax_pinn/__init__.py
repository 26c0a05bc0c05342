"""Physics-informed models: known equations as a part of the loss."""
