#!/bin/sh
# Builds up to the signature, has the digest signed elsewhere, and completes the artifact.
# Needs certificates in pki/ (to try it: `otabuild pki demo pki`) and, for fake-kms.sh, KMS_HOME: the folder with sign.key.
set -eu
if [ ! -f pki/sign.pem ]; then
  echo "no pki/sign.pem: put your certificates into pki/, or run: otabuild pki demo pki" >&2
  exit 1
fi
mkdir -p build
digest=$(otabuild sign-prepare recipes/vehicle.yaml -o build/request.json --digest | cut -d ' ' -f 1)
if [ -n "$digest" ]; then
  ./fake-kms.sh "$digest" > build/answer
  otabuild sign-finish recipes/vehicle.yaml --request build/request.json --answer build/answer
else
  otabuild build recipes/vehicle.yaml  # nothing changed: the signature is known
fi
otabuild verify dist/vehicle.zip --ca pki/root-ca.pem
