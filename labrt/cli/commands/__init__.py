"""One file per command. Each has a `command`, made by click; what it does is in the floors below."""
