"""Which endpoints requests may be sent to: endpoints with TLS, but not a cloud's metadata service.

A request to S3 is signed with AWS credentials, and a metadata service returns credentials. The check receives the
endpoint that boto3 resolved, from any variable or configuration file.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from twap_pipeline.errors import ConfigurationError

_METADATA_NAMES = ("metadata.google.internal", "metadata", "instance-data", "instance-data.ec2.internal")
_METADATA_NETWORKS = tuple(map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32")))


def require_safe_endpoint(url: str, subject: str = "the S3 endpoint", setting: str = "AWS_ENDPOINT_URL") -> None:
    """Raise if an endpoint has no TLS, or is an address of a metadata service.

    Raises:
        ConfigurationError: Contains the scheme and host of the endpoint, and the setting that permits it.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if _is_metadata_service(host):
        reason = "is an address of a metadata service, which returns credentials"
    elif parts.scheme != "https":
        reason = "is not https, so the received data could be read and changed in transit"
    else:
        return
    raise ConfigurationError(
        f"{subject} {parts.scheme}://{host} {reason}; correct {setting}, or set "
        "TWAP_ALLOW_INSECURE_ENDPOINT=true to develop against a local server"
    )


def _is_metadata_service(host: str) -> bool:
    if host in _METADATA_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:  # 2852039166 and 0xA9FEA9FE are other spellings of 169.254.169.254
            address = ipaddress.ip_address(socket.inet_aton(host))
        except OSError:
            return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in _METADATA_NETWORKS)
