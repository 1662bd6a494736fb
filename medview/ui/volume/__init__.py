"""The 3D view's parts: camera and transfer functions (plain), scene and surfaces (VTK)."""
