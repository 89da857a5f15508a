"""Finds the threshold that suits the user's traffic. Nothing here serves requests.

replay: what another threshold would have done. compare, judge: how good the local model is.
report: what is printed. main: the command line.
"""
