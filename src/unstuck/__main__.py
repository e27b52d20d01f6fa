"""``python -m unstuck`` is ``unstuck``."""

from unstuck.cli import main

if __name__ == "__main__":  # worker processes import this file as well
    main()
