"""What a command does from start to end: files, model and outputs wired together."""
