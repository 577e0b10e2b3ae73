"""The command line: `python -m model_release`."""

from model_release.cli.main import main

if __name__ == "__main__":
    main(prog_name="python -m model_release")
