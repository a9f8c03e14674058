"""Named benchmarks: data sets, protocols, contenders, and the page of results that comes from their raw records."""
