"""Reproductions: graphs."""
