"""``python -m deploy.cli``: the command ``feedbackloop`` without its script."""

from deploy.cli.main import main

main()
