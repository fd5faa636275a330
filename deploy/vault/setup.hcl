# What `keyturn setup` may do besides: make the signing seed, once.
# vault policy write keyturn-setup setup.hcl

path "secret/data/keyturn/_system/signing" {
  capabilities = ["create", "read"]
}
path "secret/metadata/keyturn/_system/signing" {
  capabilities = ["create", "read"]
}
