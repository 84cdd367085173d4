"""Where objects come from: list and read them, and turn their bytes into raw frames. Knows nothing of PostgreSQL."""
