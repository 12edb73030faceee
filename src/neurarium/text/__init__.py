"""Text: decoding from any model that predicts the next token."""
