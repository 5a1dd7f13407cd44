"""What lies outside of the program: tools, folders, pictures and the package's own files."""
