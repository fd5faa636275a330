# What an application may do: read its own secret. Replace example/map by the
# name of the credential, NAMESPACE/NAME; give a list of such paths to an
# application that uses several.
# vault policy write keyturn-example-map application.hcl

path "secret/data/keyturn/example/map" {
  capabilities = ["read"]
}
