"""Start servers, make load, and write what was seen. Only the search for the knee asks the judge, to know where to look next."""
