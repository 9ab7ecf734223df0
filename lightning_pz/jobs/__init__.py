"""What each command does behind its entry point: build, work, summarize."""
