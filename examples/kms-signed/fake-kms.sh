#!/bin/sh
# What a key service does: takes a SHA-256 in hex, gives the ECDSA signature in base64. Its key stays in $KMS_HOME.
# With AWS it would be: aws kms sign --key-id KEY --message-type DIGEST --signing-algorithm ECDSA_SHA_256 \
#   --message "fileb://digest" --output json
set -eu
printf '%s' "$1" | python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read()))' |
  openssl pkeyutl -sign -inkey "$KMS_HOME/sign.key" -pkeyopt digest:sha256 -in /dev/stdin | openssl base64 -A
