#!/bin/sh
# Asks the key service for a signature: the SHA-256 digest comes on standard input. Here, openssl plays the key service,
# with the key in the folder $KMS_HOME. With AWS:
#   aws kms sign --key-id alias/ota --message-type DIGEST --signing-algorithm ECDSA_SHA_256 --message fileb:///dev/stdin
set -eu
: "${KMS_HOME:?set KMS_HOME to the folder with sign.key}"
exec openssl pkeyutl -sign -inkey "$KMS_HOME/sign.key" -pkeyopt digest:sha256 -in /dev/stdin
