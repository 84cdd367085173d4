"""What reading the requester-pays bucket costs the caller.

Prices: AWS S3 Standard, us-east-1, as listed in 2026: https://aws.amazon.com/s3/pricing/. Egress to another AWS
service in the same region is free; the figure here is the dear case, out to the internet.
"""

LIST_DOLLARS = 0.005 / 1_000
GET_DOLLARS = 0.0004 / 1_000
EGRESS_DOLLARS_PER_BYTE = 0.09 / 1e9
KEYS_PER_LIST = 1_000
"""Keys that one LIST request returns at most."""


def list_requests(objects: int) -> int:
    """Return the LIST requests that a listing of so many keys takes."""
    return max(1, -(-objects // KEYS_PER_LIST))


def get_cost_usd(objects: int, size_bytes: int) -> float:
    """Return the price of one GET for each object and of their bytes, without the listing."""
    return objects * GET_DOLLARS + size_bytes * EGRESS_DOLLARS_PER_BYTE


def list_cost_usd(objects: int) -> float:
    """Return the price of listing so many keys once."""
    return list_requests(objects) * LIST_DOLLARS
