"""``python -m mynah``: the executable where it is not on the path, as under torchrun."""

from mynah.cli import main

if __name__ == "__main__":
    main()
