"""Conformance of methods; packing and verifying submissions."""
