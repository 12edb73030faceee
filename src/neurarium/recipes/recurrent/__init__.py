"""Family 14: recurrent networks."""
