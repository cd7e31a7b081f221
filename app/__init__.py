"""The HTTP API. Never imports torch: it stores, asks and tells; workers compute."""
