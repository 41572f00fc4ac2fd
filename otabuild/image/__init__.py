"""The reading verbs on any image: open, list, verify, deploy. Nothing in here is needed to build one."""
