"""``python -m distilrec``: the command line, where no ``distilrec`` is on the path."""

from distilrec.cli import main

if __name__ == "__main__":
    main()
