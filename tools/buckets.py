"""Create the buckets of an S3 store that do not exist yet.

    python tools/buckets.py NAME...

The environment names the store and its credentials, as for every AWS tool: AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION.
"""

from __future__ import annotations

import sys

from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session


def create_buckets(names: list[str]) -> None:
    """Create the buckets that do not exist, and print a line for each name.

    Raises:
        BotoCoreError, ClientError: The store cannot be reached, or refuses the request.
    """
    store = get_session().create_client("s3")
    existing = {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}
    for name in names:
        if name not in existing:
            store.create_bucket(Bucket=name)
        print(f"bucket {name}: {'exists' if name in existing else 'created'}")


if __name__ == "__main__":
    if not sys.argv[1:] or sys.argv[1].startswith("-"):
        sys.exit((__doc__ or "").strip())
    try:
        create_buckets(sys.argv[1:])
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
