# What an operator may do who takes existing keys under management (keyturn adopt),
# for mount "secret" and prefix "keyturn": write the key where the credential's secret
# is, and take that back if the daemons refuse.
# vault policy write keyturn-adopter adopter.hcl

path "secret/data/keyturn/+/+" {
  capabilities = ["create", "update", "read"]
}

# One version at a time, which Vault can undelete.
path "secret/delete/keyturn/+/+" {
  capabilities = ["update"]
}

# The daemons' signing seed is none of an operator's business. Grant besides what
# --key-from-vault reads elsewhere, and the operator's own login at the issuer where
# the configuration takes it from Vault.
path "secret/data/keyturn/_system/*" {
  capabilities = ["deny"]
}
path "secret/delete/keyturn/_system/*" {
  capabilities = ["deny"]
}

# For tokens without the policy "default".
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
