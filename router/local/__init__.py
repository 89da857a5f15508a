"""What a local server is, can do now, and takes."""
