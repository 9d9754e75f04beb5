"""`python -m labrt.cli.oci`: the program `labrt-oci`, from a checkout that is not installed."""

from labrt.cli.oci import script

if __name__ == "__main__":
    script()
