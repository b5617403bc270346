"""What a config asks of the devices, told before a run: `--dry_run`."""
