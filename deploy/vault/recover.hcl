# What `keyturn recover` uses besides the daemon's policy: listing what there is,
# to name secrets that nobody declares. Without it the rest works.
# vault policy write keyturn-recover recover.hcl

path "secret/metadata/keyturn/" {
  capabilities = ["list"]
}
path "secret/metadata/keyturn/+/" {
  capabilities = ["list"]
}
