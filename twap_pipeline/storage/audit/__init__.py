"""Compares the tables with the ingest log and with the objects, and repairs them."""
