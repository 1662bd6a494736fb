"""Dock panels: studies, segments, findings, report, jobs."""
