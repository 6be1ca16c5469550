"""What people see: grids, videos, progress and messages."""
