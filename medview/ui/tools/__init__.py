"""Pointer tools, one file each."""
