"""Changes to a training batch before the model sees it."""
