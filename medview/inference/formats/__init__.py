"""Model folders of others, recognised by what lies in them; one module a format, no torch."""
