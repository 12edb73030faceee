"""Family 01: neurons and feed-forward networks."""
