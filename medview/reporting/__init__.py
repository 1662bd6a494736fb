"""Findings to words and pages; knows no Qt."""
