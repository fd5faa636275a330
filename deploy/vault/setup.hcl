# What `keyturn setup` may do besides: make the signing seed, once.
# vault policy write keyturn-setup setup.hcl

# Create only: what is there cannot be replaced.
path "secret/data/keyturn/_system/signing" {
  capabilities = ["create", "read"]
}
path "secret/metadata/keyturn/_system/signing" {
  capabilities = ["create", "update", "read"]
}
