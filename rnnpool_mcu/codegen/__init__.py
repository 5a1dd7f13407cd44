"""From a Plan to C sources: Python decides, templates print."""
