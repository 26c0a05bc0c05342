"""Training: the learner, its compiled steps, and what steers them."""
