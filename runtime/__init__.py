"""What runs inside the containers: launcher, readiness, drain, warm-up, weight ingest, snapshots.

What lives here: standard library only (boto3 is imported by the two programs that talk to S3). What does not:
decisions; everything that can be decided before the pod starts is in launch.json, which ``sizing`` wrote.
Nothing of ours is imported, for nothing else of ours is in the image.
"""
