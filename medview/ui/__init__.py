"""Windows, views and panels; thin."""
