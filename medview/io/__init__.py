"""Bytes to core types and back; the only room that knows pydicom and highdicom."""
