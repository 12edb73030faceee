"""Family 15: attention and transformers."""
