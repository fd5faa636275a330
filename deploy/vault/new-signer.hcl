# What `keyturn setup --new-signer` may do besides the policy of setup: replace
# the signing seed. The seeds before it stay as older versions. Give it for as
# long as that takes.
# vault policy write keyturn-new-signer new-signer.hcl

path "secret/data/keyturn/_system/signing" {
  capabilities = ["create", "update", "read"]
}
