"""What a TWAP status is and when it is valid: pure functions, frame in, frame out; no I/O and no orchestration."""
