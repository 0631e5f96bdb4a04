"""Tests of the fan-out service."""
