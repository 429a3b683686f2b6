"""Tests of what runs on the host, without a host."""
