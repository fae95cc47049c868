"""``python -m bayescale`` is the command ``bayescale``."""

from bayescale.cli import main

if __name__ == "__main__":
    main()
