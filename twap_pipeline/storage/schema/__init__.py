"""The declared tables, and how a database gets to them: revision gate, drift, locked upgrade, fast creation."""
