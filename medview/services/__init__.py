"""The running program without windows: owns all state."""
