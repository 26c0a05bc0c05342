"""The compiled steps of training, and the epochs that are made of them."""
