#!/bin/sh
# Does what a key service does: takes a SHA-256 in hex and returns the ECDSA signature in base64. The key, sign.key, stays
# in the folder $KMS_HOME. With AWS, replace this script by:
#   aws kms sign --key-id KEY --message-type DIGEST --signing-algorithm ECDSA_SHA_256 \
#     --message "fileb://digest" --output json
set -eu
: "${KMS_HOME:?set KMS_HOME to the folder with sign.key}"
printf '%s' "$1" | python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read()))' |
  openssl pkeyutl -sign -inkey "$KMS_HOME/sign.key" -pkeyopt digest:sha256 -in /dev/stdin | openssl base64 -A
