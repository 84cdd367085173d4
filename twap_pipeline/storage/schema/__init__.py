"""The declared tables, the revision gate, drift, the locked upgrade, and creation without migrations."""
