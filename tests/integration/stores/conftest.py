"""Object stores that run while the tests do."""

from object_stores import azure_server, s3_server

__all__ = ["azure_server", "s3_server"]
