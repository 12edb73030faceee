"""Neurarium: the neural-network zoo, alive."""
