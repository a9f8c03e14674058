"""Tables in: files, frames and arrays become one encoded matrix, and its columns become model input."""
