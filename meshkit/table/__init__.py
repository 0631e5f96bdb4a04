"""Ordered key-value tables: the truth of every service."""
