"""A machine of its own for the tests that hand over what its sessions made."""

from guest_box import box

__all__ = ["box"]
