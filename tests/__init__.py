"""Tests of medview."""
