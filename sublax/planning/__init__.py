"""What a run needs of a machine that is not there: its programs, compiled and counted."""
