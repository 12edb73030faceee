"""Family 10: convolutional networks."""
