"""What is read after training: run folders as data, leaderboards, and pages that open without a
network.
"""
