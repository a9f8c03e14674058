"""Labels in, numbers out. Imported by reports and the command line only: no label reaches training or thresholds."""
