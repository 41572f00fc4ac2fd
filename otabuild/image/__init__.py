"""The reading commands for any image: open, list, verify, deploy. Building an image does not need them."""
