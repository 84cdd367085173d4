"""Which S3 endpoints may be asked: over TLS, and never a cloud's metadata service.

A request carries the signature of somebody's AWS identity, and answers of a metadata service carry credentials. The
endpoint is judged as boto3 has resolved it, from whichever variable or file it came.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from twap_pipeline.errors import ConfigurationError

_METADATA_NAMES = ("metadata.google.internal", "metadata", "instance-data", "instance-data.ec2.internal")
_METADATA_NETWORKS = tuple(map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32")))


def require_safe_endpoint(url: str) -> None:
    """Refuse an endpoint without TLS, or on an address of a metadata service.

    Args:
        url: As boto3 has it: ``https://s3.us-east-1.amazonaws.com``.

    Raises:
        ConfigurationError: Names the endpoint and the way out.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if _is_metadata_service(host):
        reason = "is an address of a metadata service, whose answers are credentials"
    elif parts.scheme != "https":
        reason = "is not https: whoever is on the way could read and change what is ingested"
    else:
        return
    raise ConfigurationError(
        f"the S3 endpoint {parts.scheme}://{host} {reason}; mend AWS_ENDPOINT_URL, or, to develop against an S3 server"
        " of your own, set TWAP_ALLOW_INSECURE_ENDPOINT=true"
    )


def _is_metadata_service(host: str) -> bool:
    if host in _METADATA_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:  # 2852039166 and 0xA9FEA9FE are 169.254.169.254 too
            address = ipaddress.ip_address(socket.inet_aton(host))
        except OSError:
            return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in _METADATA_NETWORKS)
