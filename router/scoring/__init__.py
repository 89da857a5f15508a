"""Score a request from 0 to 100 points; `router.classifier` is the public face."""
