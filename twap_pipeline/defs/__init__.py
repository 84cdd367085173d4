"""The Dagster shell: one module per Dagster concept; they decide when, and which day, never how."""
