"""Preferences, model card, export, crash."""
