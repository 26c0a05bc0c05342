"""Running, saving and loading models outside of training."""
