// Addresses of objects in S3 or a store like it: `s3://bucket/key`.

/** A bucket and what is named in it: an object, or all whose keys begin like that. */
export interface ObjectPlace {
  readonly bucket: string;
  readonly key: string;
}

/** True for what is meant to be an address of an object, right or wrong. */
export function isObjectUrl(text: string): boolean {
  return /^s3:\/\//i.test(text);
}

/** Names of buckets, old ones with capitals and underscores included, and keys, a trailing slash left out. */
export const OBJECT_URL = /^s3:\/\/([A-Za-z0-9][A-Za-z0-9._-]{1,254})\/([^\p{Cc}]*[^\p{Cc}/])\/*$/u;

/** The bucket and the key of an address; undefined for what is none, and for a bucket alone. */
export function parseObjectUrl(text: string): ObjectPlace | undefined {
  const [, bucket, key] = OBJECT_URL.exec(text) ?? [];
  return bucket === undefined || key === undefined ? undefined : { bucket, key };
}
