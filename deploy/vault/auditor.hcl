# What an auditor may do: read the signed checkpoints of the record, for
# `keyturn audit verify --checkpoint vault`. No key and no seed can be read.
# vault policy write keyturn-auditor auditor.hcl

path "secret/data/keyturn/_system/checkpoint" {
  capabilities = ["read"]
}

# For tokens without the policy "default".
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
