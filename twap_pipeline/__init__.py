"""Ingestion of Hyperliquid TWAP orders from S3 parquet to PostgreSQL, as Dagster assets."""
