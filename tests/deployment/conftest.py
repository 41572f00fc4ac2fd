"""The servers of the tests of stores."""

from tests.stores.conftest import seaweedfs_address

__all__ = ["seaweedfs_address"]
