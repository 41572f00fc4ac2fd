"""The server of the examples with a bucket."""

from tests.stores.conftest import seaweedfs_address

__all__ = ["seaweedfs_address"]
