# What a keyturn daemon may do, for mount "secret" and prefix "keyturn".
# vault policy write keyturn-daemon daemon.hcl

# The secrets of credentials: NAMESPACE/NAME.
path "secret/data/keyturn/+/+" {
  capabilities = ["create", "update", "read"]
}

# Check-and-set is made obligatory here, and the versions to destroy are listed.
path "secret/metadata/keyturn/+/+" {
  capabilities = ["create", "update", "read"]
}

# Versions that hold replaced keys are destroyed when those keys are dead.
path "secret/destroy/keyturn/+/+" {
  capabilities = ["update"]
}

# The installation's own secrets: the signing seed, and what the config takes
# from Vault (logins of portals and of NATS). Read, never changed.
path "secret/data/keyturn/_system/*" {
  capabilities = ["read"]
}
path "secret/metadata/keyturn/_system/*" {
  capabilities = ["deny"]
}
path "secret/destroy/keyturn/_system/*" {
  capabilities = ["deny"]
}

# Signed checkpoints of the record, kept as versions: new ones may be added,
# and none destroyed.
path "secret/data/keyturn/_system/checkpoint" {
  capabilities = ["create", "update", "read"]
}
path "secret/metadata/keyturn/_system/checkpoint" {
  capabilities = ["create", "update"]
}

# For tokens without the policy "default".
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "sys/capabilities-self" {
  capabilities = ["update"]
}
