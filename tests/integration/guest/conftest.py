from guest_box import box

__all__ = ["box"]
