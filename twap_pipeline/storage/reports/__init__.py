"""Read-only summaries for the command line and for Dagster's UI."""
