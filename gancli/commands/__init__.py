"""The subcommands of `gan`, one file each; every file has `main(argv) -> exit code`."""
