"""What is read after training: run folders, leaderboards, and pages that need no network."""
