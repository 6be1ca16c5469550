"""The only ways to write a file and to read an untrusted one."""
