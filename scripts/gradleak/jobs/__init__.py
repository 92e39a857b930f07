"""What a script does around its work: its log, signals, records, a block's files."""
