"""HTTP/1.1 as bytes: heads, framing and hop-by-hop fields, without any I/O. What is ambiguous is refused here."""
