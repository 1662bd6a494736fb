"""medview: a viewer for medical images in which a model proposes and a reader decides."""

__version__ = "0.1.0"
