"""`python -m interpose`: the same as the `interpose` command."""

from interpose.cli import main

if __name__ == "__main__":
    main()
