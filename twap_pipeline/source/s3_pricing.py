"""Cost of requests and transfer, which the requester pays.

Prices: AWS S3 Standard, us-east-1, as listed in 2026: https://aws.amazon.com/s3/pricing/. The transfer price is the
most expensive case, to the internet. Transfer to another AWS service in the same region is free.
"""

LIST_USD = 0.005 / 1_000
GET_USD = 0.0004 / 1_000
EGRESS_USD_PER_BYTE = 0.09 / 1e9
KEYS_PER_LIST = 1_000
"""Maximum number of keys in the response of one LIST request."""


def list_requests(objects: int) -> int:
    """Return the number of LIST requests that list so many objects; at least 1."""
    return max(1, -(-objects // KEYS_PER_LIST))


def get_cost_usd(objects: int, size_bytes: int) -> float:
    """Return the cost of one GET request per object and of the transfer of their bytes, without the listing."""
    return objects * GET_USD + size_bytes * EGRESS_USD_PER_BYTE


def list_cost_usd(objects: int) -> float:
    """Return the cost of listing so many objects once."""
    return list_requests(objects) * LIST_USD
