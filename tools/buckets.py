"""Make the buckets of an S3 store that are not there yet.

    python tools/buckets.py NAME...

The store and its credentials come from the environment, by the names that every AWS tool knows: AWS_ENDPOINT_URL_S3,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION.
"""

from __future__ import annotations

import sys

from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session


def make(names: list[str]) -> None:
    """Make these buckets; those that are there are left as they are.

    Raises:
        BotoCoreError, ClientError: The store cannot be reached, or refuses.
    """
    store = get_session().create_client("s3")
    there = {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}
    for name in names:
        if name not in there:
            store.create_bucket(Bucket=name)
        print(f"bucket {name}: {'was there' if name in there else 'made'}")


if __name__ == "__main__":
    if not sys.argv[1:] or sys.argv[1].startswith("-"):
        sys.exit((__doc__ or "").strip())
    try:
        make(sys.argv[1:])
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
