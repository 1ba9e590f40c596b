PRIMER = b"\x80"
