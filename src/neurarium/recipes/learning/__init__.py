"""Family 04: learning rules beyond backpropagation."""
