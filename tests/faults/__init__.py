"""Tests that break things on purpose, and count what arrives."""
