"""Adapters, one module a kind of model; imported by name in the worker only."""
