"""What a script does around its work: its log, signals, records, and the files of its block."""
