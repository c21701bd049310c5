"""``python -m depthcrafter_cli`` is the ``depthcrafter`` command."""

from depthcrafter_cli.cli import main

if __name__ == "__main__":
    main()
