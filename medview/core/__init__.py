"""What the program talks about: types with units and identity; standard library and numpy only."""
