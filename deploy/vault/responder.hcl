# What an operator may do who invalidates a leaked key while the daemons are away
# (keyturn invalidate --break-glass), for mount "secret" and prefix "keyturn": see
# where the key lives, and make the other one the primary.
# vault policy write keyturn-responder responder.hcl

path "secret/data/keyturn/+/+" {
  capabilities = ["read", "update"]
}

# The daemons' signing seed is none of an operator's business. Where the
# configuration takes the operator's own login at the issuer from Vault, grant that
# path besides.
path "secret/data/keyturn/_system/*" {
  capabilities = ["deny"]
}

# For tokens without the policy "default".
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
