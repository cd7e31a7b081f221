"""Reading what strangers upload: in a sandbox (``python -m workers.intake.read_upload``), whose answer is written down."""
