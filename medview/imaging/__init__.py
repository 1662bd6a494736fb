"""Pure functions on arrays and core types: no files, no state."""
