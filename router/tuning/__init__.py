"""What another threshold would have done. For tune.py; nothing here serves requests."""
